/**
 * The fold that makes an answer of its entries: pure, and the same as the server's.
 *
 * A START with a higher attempt begins anew; what is older, has come before, or
 * comes behind the END does not count. What the model thinks is no part of the text:
 * it stands in the meta of chunks without text. Each function returns the answer it was
 * given where nothing changes.
 */

export const MAX_REASONING_CHARS = 1_000_000; // the server's own bound for a text, by default

const FINAL = new Set(["done", "stopped", "failed"]);

export const isFinal = (status) => FINAL.has(status);

export const emptyAnswer = Object.freeze({
  attempt: 0,
  next: 0, // number of the entry that has to come next
  lastId: null, // what to resume after
  text: "",
  reasoning: "", // what the model has thought
  reasoningCut: false, // there was more of it than is kept
  status: "running",
  error: null,
  finishReason: null,
  usage: null, // {inputTokens, outputTokens, reasoningTokens}, each null where it is not known
  model: null, // its name, as the provider told it
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
  return meta.number === 0 ? counted : thought({ ...counted, text: counted.text + text }, meta.reasoning);
}

/** Cut between two entries, and for good: what follows a gap would make no sense. */
function thought(answer, more) {
  if (typeof more !== "string" || answer.reasoningCut) return answer;
  if (answer.reasoning.length + more.length > MAX_REASONING_CHARS) return { ...answer, reasoningCut: true };
  return { ...answer, reasoning: answer.reasoning + more };
}

function ended(answer, { status, error = null, finishReason = null, usage, model }) {
  return { ...answer, status, error, finishReason, usage: usageOf(usage), model: nameOf(model), hole: false };
}

function usageOf(told) {
  const [inputTokens, outputTokens, reasoningTokens] = ["inputTokens", "outputTokens", "reasoningTokens"].map((name) =>
    Number.isSafeInteger(told?.[name]) && told[name] >= 0 ? told[name] : null,
  );
  const known = [inputTokens, outputTokens, reasoningTokens].some((count) => count !== null);
  return known ? { inputTokens, outputTokens, reasoningTokens } : null;
}

const nameOf = (model) => (typeof model === "string" && model !== "" ? model : null);
