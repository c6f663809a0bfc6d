/** The answer in one go: what the server says, and what it means that it says something else. */

import assert from "node:assert/strict";
import { afterEach, mock, test } from "node:test";

import { postQuestion } from "../js/post.js";

const QUESTION = { questionId: "q", topic: "Redis", question: "Why?", phase: "waiting" };

/** Post the question to a server that answers so. */
function post(status, body, signal = new AbortController().signal) {
  const fetch = mock.method(globalThis, "fetch", async () => new Response(body, { status }));
  return { fetch, answer: postQuestion("http://a:3000", QUESTION, signal) };
}

afterEach(() => mock.restoreAll());

test("The question goes out with its id, and the whole answer comes back.", async () => {
  const { fetch, answer } = post(200, '{"output":"All of it."}');
  assert.equal(await answer, "All of it.");
  const [url, { method, body }] = fetch.mock.calls[0].arguments;
  assert.deepEqual([url, method], ["http://a:3000/askQuestionWithoutStream", "POST"]);
  assert.deepEqual(JSON.parse(body), { topic: "Redis", topicQuestion: "Why?", questionId: "q" });
});

test("An error of the server is passed on as it is.", async () => {
  const error = { code: "model_error", message: "It broke.", retryable: true };
  await assert.rejects(post(500, JSON.stringify({ error })).answer, error);
});

test("What is no answer is told in words.", async () => {
  await assert.rejects(post(502, "<html>").answer, { message: "The server answered 502.", retryable: true });
  mock.restoreAll();
  for (const body of ['{"output":""}', '{"output":5}', "{}", "<html>"]) {
    await assert.rejects(post(200, body).answer, { message: "The server sent an empty answer." }, body);
    mock.restoreAll();
  }
});

test("A server that is not there is told from one that refuses.", async () => {
  mock.method(globalThis, "fetch", async () => {
    throw new TypeError("Failed to fetch");
  });
  await assert.rejects(postQuestion("http://a:3000", QUESTION, new AbortController().signal), { code: "unreachable" });
});

test("Whoever loses interest is not told of a failure.", async () => {
  const signal = AbortSignal.abort();
  await assert.rejects(post(500, "{}", signal).answer, { name: "AbortError" });
});
