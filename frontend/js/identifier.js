/** An id for a question: knowing it is the right to read the answer, so it must not be guessable. */

export function newQuestionId(crypto = globalThis.crypto) {
  // randomUUID is there only in secure contexts: https, and http on localhost.
  return crypto.randomUUID ? crypto.randomUUID() : uuidOf(crypto.getRandomValues(new Uint8Array(16)));
}

/** Spell 16 random bytes as a version 4 UUID. */
function uuidOf(bytes) {
  bytes[6] = (bytes[6] & 0x0f) | 0x40; // version 4
  bytes[8] = (bytes[8] & 0x3f) | 0x80; // variant of RFC 9562
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, "$1-$2-$3-$4-$5");
}
