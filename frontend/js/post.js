/** The answer in one go, by POST. */

import { badAnswer, unreachable } from "./faults.js";

/**
 * Asking twice with one id is one question, where the server speaks our contract.
 * Resolves to the whole answer; rejects with a `{code, message, retryable}` where there
 * is none, or with the signal's reason where the caller lost interest.
 */
export async function postQuestion(address, { questionId, topic, question }, signal) {
  const payload = { topic, topicQuestion: question, questionId };
  const response = await send(`${address}/askQuestionWithoutStream`, payload, signal);
  const body = await response.json().catch(() => ({}));
  signal.throwIfAborted();
  if (body.error) throw body.error;
  if (!response.ok) throw badAnswer(`The server answered ${response.status}.`);
  if (typeof body.output !== "string" || !body.output) throw badAnswer("The server sent an empty answer.");
  return body.output;
}

async function send(url, payload, signal) {
  const headers = { "Content-Type": "application/json" };
  try {
    return await fetch(url, { method: "POST", headers, body: JSON.stringify(payload), signal });
  } catch {
    signal.throwIfAborted();
    throw unreachable();
  }
}
