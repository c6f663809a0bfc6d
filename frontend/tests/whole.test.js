/** Answers in one go, by POST. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { begin, OK, settled } from "./rig.js";

const UNREACHABLE = { code: "unreachable", message: "Nobody there.", retryable: true };

/** A POST whose outcome the test decides. */
function posting() {
  const posted = [];
  const post = (question, signal) =>
    new Promise((resolve, reject) => {
      posted.push({ question, signal, resolve, reject });
      signal.addEventListener("abort", () => reject(signal.reason));
    });
  return { posted, post };
}

test("An answer by POST needs no socket, and survives a reconnect of it.", async () => {
  const { posted, post } = posting();
  const page = begin({ post });
  await page.ask("Why?", false);
  assert.equal(posted[0].question.questionId, "q1");
  await page.connect();
  await page.lose();
  await page.connect();
  posted[0].resolve("whole");
  await settled();
  assert.equal(posted.length, 1);
  assert.equal(page.question().answer.text, "whole");
  assert.equal(page.question().phase, "done");
  assert.deepEqual(page.requests, []);
});

test("It runs beside a streamed one, even on a plain server.", async () => {
  const { posted, post } = posting();
  const page = begin({ post, replies: [() => new Promise(() => {})] });
  await page.connect();
  await page.ask("Streamed?");
  await page.ask("Whole?", false);
  for (const text of ["START:1;<br/>", "a", "<br/>;END:1"]) page.session.chunk(text);
  posted[0].resolve("whole");
  await settled();
  assert.deepEqual([page.question(0).answer.text, page.question(1).answer.text], ["a", "whole"]);
});

test("Where the server may not know that two askings are one, a lost connection is a failure.", async () => {
  const { posted, post } = posting();
  const page = begin({ post });
  await page.ask("Why?", false);
  posted[0].reject(UNREACHABLE);
  await settled();
  assert.equal(page.question().phase, "failed");
});

test("Where it knows, the question is asked again, at the latest with the next connection.", async () => {
  const { posted, post } = posting();
  const page = begin({ post, replies: [OK] });
  await page.connect();
  await page.ask("Streamed?");
  await page.ask("Whole?", false);
  posted[0].reject(UNREACHABLE);
  await settled();
  assert.deepEqual(posted[1].question, posted[0].question);
  await page.lose();
  posted[1].reject(UNREACHABLE);
  await settled();
  assert.equal(posted.length, 2);
  assert.equal(page.question(1).phase, "waiting");
  await page.connect();
  posted[2].resolve("whole");
  await settled();
  assert.equal(page.question(1).answer.text, "whole");
  assert.equal(page.question(1).accepted, true, "a server that knows ids keeps the answer");
});

test("What the server refuses is not asked again.", async () => {
  const { posted, post } = posting();
  const page = begin({ post });
  await page.ask("Why?", false);
  posted[0].reject({ code: "model_error", message: "It broke.", retryable: true });
  await settled();
  assert.equal(page.question().answer.error.message, "It broke.");
  assert.equal(posted.length, 1);
});

test("Stop cancels the request, and tells a server that may go on.", async () => {
  const { posted, post } = posting();
  const page = begin({ post });
  await page.connect();
  await page.ask("Streamed?");
  page.session.stop(await page.ask("Whole?", false));
  await settled();
  assert.equal(posted[0].signal.aborted, true);
  assert.equal(page.question(1).phase, "stopped");
  assert.deepEqual(page.requests.at(-1), ["stopQuestion", { questionId: "q2" }]);
});

test("Closing it cancels the request.", async () => {
  const { posted, post } = posting();
  const page = begin({ post });
  page.session.close(await page.ask("Why?", false));
  assert.equal(posted[0].signal.aborted, true);
});
