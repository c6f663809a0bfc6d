/** One question's conversation with the server, whatever the connection does. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { begin, LOST, OK, refused, settled } from "./rig.js";

const never = () => new Promise(() => {});

test("A question asked while offline is sent once there is a connection, once.", async () => {
  const { ask, connect, requests } = begin();
  await ask();
  assert.deepEqual(requests, []);
  await connect();
  assert.deepEqual(requests, [["askQuestion", { topic: "Redis", topicQuestion: "Why?", questionId: "q1" }]]);
});

test("An asking whose acknowledgement was lost with the connection is repeated with the same id.", async () => {
  const page = begin({ replies: [() => (page.lose(), LOST)] });
  await page.connect();
  await page.ask();
  await page.connect();
  assert.deepEqual(page.events(), ["askQuestion", "askQuestion"]);
  assert.deepEqual(page.requests[0], page.requests[1]);
});

test("A server that never acknowledges is not asked twice.", async () => {
  const { ask, connect, events, question } = begin({ replies: [LOST] });
  await connect();
  await ask();
  assert.deepEqual(events(), ["askQuestion"]);
  assert.equal(question().phase, "waiting");
});

test("A server that is known to take the second asking for the first is asked until it answers.", async () => {
  const { ask, connect, events } = begin({ replies: [OK, LOST, LOST] });
  await connect();
  await ask("One?");
  await ask("Two?");
  assert.equal(events().length, 4);
});

test("A reconnect resumes behind the last entry.", async () => {
  const page = begin();
  await page.connect();
  await page.ask();
  page.entry(0, "START:q1;<br/>");
  page.entry(1, "a");
  await page.lose();
  await page.connect();
  assert.deepEqual(page.requests.at(-1), ["resumeQuestion", { questionId: "q1", after: "5-1" }]);
});

test("A refused question ends in the server's words.", async () => {
  const { ask, connect, question } = begin({ replies: [refused("busy", true)] });
  await connect();
  await ask();
  assert.equal(question().phase, "failed");
  assert.equal(question().answer.error.message, "busy!");
  assert.equal(question().accepted, false);
});

test("The chunks of a refusal are left to pages without acknowledgements.", async () => {
  const page = begin({ replies: [never] });
  await page.connect();
  await page.ask();
  const error = refused("busy", true).error;
  page.session.chunk("START:q1;<br/>", { questionId: "q1", attempt: 0, number: 0 });
  page.session.chunk("busy!", { questionId: "q1", attempt: 0, notice: true });
  page.session.chunk("<br/>;END:q1", { questionId: "q1", attempt: 0, status: "failed", error });
  assert.equal(page.question().phase, "waiting");
  assert.equal(page.question().accepted, false);
});

test("A second asking that is refused for now is repeated: the first one may have been heard.", async () => {
  const page = begin({ replies: [() => (page.lose(), LOST), refused("busy", true), OK] });
  await page.connect();
  await page.ask();
  await page.connect();
  assert.deepEqual(page.events(), ["askQuestion", "askQuestion", "askQuestion"]);
  assert.equal(page.question().accepted, true);
  assert.equal(page.question().trouble, null);
});

test("A resume that fails for now is repeated; one that fails for good ends the answer.", async () => {
  const later = refused("storage_unavailable", true);
  const page = begin({ replies: [OK, later, later, refused("expired", false)] });
  await page.connect();
  await page.ask();
  await page.lose();
  await page.connect();
  assert.deepEqual(page.pauses, [1_000, 2_000]);
  assert.equal(page.question().answer.error.code, "expired");
});

test("A missing entry is fetched once.", async () => {
  const page = begin();
  await page.connect();
  await page.ask();
  page.entry(0, "START:q1;<br/>");
  page.entry(2, "b");
  page.entry(3, "c");
  await settled();
  assert.deepEqual(page.requests.slice(1), [["resumeQuestion", { questionId: "q1", after: "5-0" }]]);
  for (const [number, text] of [[1, "a"], [2, "b"], [3, "c"]]) page.entry(number, text);
  assert.equal(page.question().answer.text, "abc");
});

test("A server that cannot read on is asked to, and in the end believed.", async () => {
  const page = begin();
  await page.connect();
  await page.ask();
  const error = { code: "storage_unavailable", message: "Later.", retryable: true };
  const breakOff = () => page.session.chunk("<br/>;END:q1", { questionId: "q1", attempt: 1, status: "failed", error });
  page.entry(0, "START:q1;<br/>");
  for (let round = 0; round < 4; round += 1) {
    breakOff();
    await settled();
  }
  assert.equal(page.events().filter((event) => event === "resumeQuestion").length, 4);
  assert.equal(page.question().phase, "waiting");
  breakOff();
  assert.equal(page.question().phase, "failed");
});

test("Stop waits for the END.", async () => {
  const page = begin();
  await page.connect();
  const id = await page.ask();
  page.session.stop(id);
  page.session.stop(id);
  await settled();
  assert.deepEqual(page.events(), ["askQuestion", "stopQuestion"]);
  assert.equal(page.question().stopping, true);
  page.entry(0, "START:q1;<br/>");
  page.entry(1, "<br/>;END:q1", { status: "stopped" });
  assert.equal(page.question().phase, "stopped");
  assert.equal(page.question().stopping, false);
});

test("A stop that was not heard is repeated after the reconnect, before the resume.", async () => {
  const page = begin();
  await page.connect();
  const id = await page.ask();
  await page.lose();
  page.session.stop(id);
  await page.connect();
  assert.deepEqual(page.events(), ["askQuestion", "stopQuestion", "resumeQuestion"]);
});

test("A stop that is not confirmed says so and can be repeated.", async () => {
  const page = begin({ replies: [OK, LOST] });
  await page.connect();
  page.session.stop(await page.ask());
  await settled();
  assert.equal(page.question().stopping, false);
  assert.match(page.question().trouble.message, /not confirmed/);
});

test("A question that never left the page is stopped here.", async () => {
  const { ask, session, connect, question, requests } = begin();
  session.stop(await ask());
  await connect();
  assert.equal(question().phase, "stopped");
  assert.deepEqual(requests, []);
});

test("On waking, a connection that answers goes on where it was.", async () => {
  const page = begin();
  await page.connect();
  await page.ask();
  page.entry(0, "START:q1;<br/>");
  await page.session.wake();
  assert.deepEqual(page.requests.at(-1), ["resumeQuestion", { questionId: "q1", after: "5-0" }]);
  assert.equal(page.connection.renewed, 0);
});

test("On waking, a connection that says nothing is replaced, and one that is gone is not waited for.", async () => {
  const page = begin({ replies: [OK, LOST] });
  await page.connect();
  await page.ask();
  await page.session.wake();
  assert.equal(page.connection.renewed, 1);
  await page.lose();
  await page.session.wake();
  assert.equal(page.connection.renewed, 2);
});

test("A connection that carries nothing anyway is left alone on waking.", async () => {
  const page = begin();
  await page.connect();
  await page.session.wake();
  assert.deepEqual(page.requests, []);
  assert.equal(page.connection.renewed, 0);
});

test("Without a client there is still the answer in one go.", async () => {
  const page = begin({ post: async () => "whole" });
  page.session.unavailable(new Error("no client"));
  assert.equal(page.store.get().trouble.message, "no client");
  await page.ask();
  assert.equal(page.question().answer.error.message, "no client");
  await page.ask("Why?", false);
  assert.equal(page.question(1).phase, "done");
  await page.session.wake();
  assert.equal(page.connection.renewed, 0);
});
