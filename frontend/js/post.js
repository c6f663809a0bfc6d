/** The answer in one go, by POST. */

/**
 * Resolves to the whole answer; rejects with a `{code, message, retryable}` where there
 * is none, or with the signal's reason where the caller lost interest.
 */
export async function postQuestion(address, { topic, question }, signal) {
  const response = await send(`${address}/askQuestionWithoutStream`, { topic, topicQuestion: question }, signal);
  const body = await response.json().catch(() => ({}));
  signal.throwIfAborted();
  if (body.error) throw body.error;
  if (!response.ok) throw failure("http", `The server answered ${response.status}.`);
  if (typeof body.output !== "string" || !body.output) throw failure("empty", "The server sent an empty answer.");
  return body.output;
}

async function send(url, payload, signal) {
  const headers = { "Content-Type": "application/json" };
  try {
    return await fetch(url, { method: "POST", headers, body: JSON.stringify(payload), signal });
  } catch {
    signal.throwIfAborted();
    throw failure("unreachable", "The server cannot be reached.");
  }
}

const failure = (code, message) => ({ code, message, retryable: true });
