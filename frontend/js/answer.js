/**
 * The fold that makes an answer of its entries: pure, and the same as the server's.
 *
 * A START with a higher attempt begins anew; what is older, has come before, or
 * comes behind the END does not count. Each function returns the answer it was
 * given where nothing changes.
 */

const FINAL = new Set(["done", "stopped", "failed"]);

export const isFinal = (status) => FINAL.has(status);

export const emptyAnswer = Object.freeze({
  attempt: 0,
  next: 0, // number of the entry that has to come next
  lastId: null, // what to resume after
  text: "",
  status: "running",
  error: null,
  finishReason: null,
  hole: false, // an entry before the last one to arrive is missing: resume after lastId
});

/** Take in one `chunk` event with its meta. */
export function fold(answer, text, meta) {
  const attempt = Number.isInteger(meta.attempt) ? meta.attempt : answer.attempt;
  if (isFinal(answer.status) || meta.notice === true || attempt < answer.attempt) return answer;
  // An end that the server found out about while reading stands in no stream: it
  // has neither an id nor a number.
  if (!Number.isInteger(meta.number)) return isFinal(meta.status) ? ended(answer, meta) : answer;

  const current = attempt > answer.attempt ? { ...emptyAnswer, attempt } : answer;
  if (meta.number < current.next) return answer;
  if (meta.number > current.next) return answer.hole ? answer : { ...answer, hole: true };

  const counted = { ...current, next: current.next + 1, lastId: meta.id ?? answer.lastId, hole: false };
  if (isFinal(meta.status)) return ended(counted, meta);
  return meta.number === 0 ? counted : { ...counted, text: counted.text + text };
}

function ended(answer, { status, error = null, finishReason = null }) {
  return { ...answer, status, error, finishReason, hole: false };
}
