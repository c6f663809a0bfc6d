/** Growing text on the page, in parts that the browser lays out apart: one is laid out anew whenever it grows. */

const LINE_CHARS = 2_000; // a part this long ends with a line, ...
const WORD_CHARS = 6_000; // ... this long with a word, ...
const PART_CHARS = 8_000; // ... and this long anywhere

/** Append text to `parent`, which is preformatted, and holds what this function has written. */
export function appendText(parent, text) {
  for (let at = 0; at < text.length; ) {
    const part = growingPart(parent);
    const end = endOfPart(text, at, part.length);
    part.appendData(text.slice(at, end));
    at = end;
  }
}

/** The last text, or a new one; an empty block between two texts keeps them from sharing lines. */
function growingPart(parent) {
  const last = parent.lastChild;
  if (last && !isFull(last.data)) return last;
  if (last) parent.append(document.createElement("div"));
  return parent.appendChild(new Text());
}

function isFull(text) {
  const last = text.at(-1);
  return text.length >= PART_CHARS || (text.length >= LINE_CHARS && last === "\n") || (text.length >= WORD_CHARS && /\s/.test(last));
}

/** Where the text for a part that has so many characters already ends. */
function endOfPart(text, at, filled) {
  const line = text.indexOf("\n", at + Math.max(0, LINE_CHARS - filled - 1));
  const word = /\s/g;
  word.lastIndex = at + Math.max(0, WORD_CHARS - filled - 1);
  const places = [line, word.exec(text)?.index ?? -1].filter((place) => place >= 0);
  const end = Math.min(...places.map((place) => place + 1), at + PART_CHARS - filled, text.length);
  return isHalf(text.charCodeAt(end - 1)) ? end + 1 : end;
}

/** Whether this is the first half of a character: what arrives is never cut behind it. */
const isHalf = (unit) => unit >= 0xd800 && unit <= 0xdbff;
