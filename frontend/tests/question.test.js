/** What is known of one question, step by step. */

import assert from "node:assert/strict";
import { test } from "node:test";

import * as Question from "../js/question.js";

const fresh = (more = {}) =>
  Question.asked({ questionId: "q", topic: "Redis", question: "Why?", streamed: true, ...more }, 1_000);
const meta = (number, more = {}) => ({ questionId: "q", id: `5000-${number}`, attempt: 1, number, ...more });
const arrive = (question, ...chunks) =>
  chunks.reduce((state, [text, given, now = 2_000]) => Question.chunkArrived(state, text, given, now), question);

test("A question waits, is answered, and ends.", () => {
  const waiting = arrive(fresh(), ["START:q;<br/>", meta(0)]);
  assert.equal(waiting.phase, "waiting");
  const answering = arrive(waiting, ["a", meta(1), 3_000]);
  assert.deepEqual([answering.phase, answering.firstAt, answering.endedAt], ["answering", 3_000, null]);
  const done = arrive(answering, ["<br/>;END:q", meta(2, { status: "done" }), 4_000]);
  assert.deepEqual([done.phase, done.firstAt, done.endedAt], ["done", 3_000, 4_000]);
});

test("It is in the queue until a worker begins.", () => {
  const queued = Question.accepted(fresh(), { ok: true, status: "queued" }, 2_000);
  assert.equal(queued.queued, true);
  assert.equal(arrive(queued, ["START:q;<br/>", meta(0)]).queued, false);
  const begun = arrive(fresh(), ["START:q;<br/>", meta(0)]);
  assert.equal(Question.accepted(begun, { ok: true, status: "queued" }, 2_000).queued, false);
});

test("A new attempt waits again, and keeps the time of the first word.", () => {
  const said = arrive(fresh(), ["START:q;<br/>", meta(0)], ["a", meta(1), 3_000]);
  const again = arrive(said, ["START:q;<br/>", meta(0, { attempt: 2 })]);
  assert.deepEqual([again.phase, again.firstAt], ["waiting", 3_000]);
});

test("A question whose model thinks still waits for its first word.", () => {
  const thinking = arrive(fresh(), ["START:q;<br/>", meta(0)], ["", meta(1, { reasoning: "Hm." }), 3_000]);
  assert.deepEqual([thinking.phase, thinking.firstAt, thinking.heardAt], ["waiting", null, 3_000]);
  assert.equal(thinking.answer.reasoning, "Hm.");
  const answering = arrive(thinking, ["a", meta(2), 9_000]);
  assert.deepEqual([answering.phase, answering.firstAt, answering.answer.text], ["answering", 9_000, "a"]);
});

test("A chunk that changes nothing leaves the question as it is.", () => {
  const said = arrive(fresh(), ["START:q;<br/>", meta(0)]);
  assert.equal(arrive(said, ["START:q;<br/>", meta(0)]), said);
  const ended = Question.ended(said, "stopped", null, 3_000);
  assert.equal(arrive(ended, ["a", meta(1)]), ended);
});

test("An answer that is read again and has ended shows its words as they come, and then its end.", () => {
  const fetching = Question.accepted(Question.fetched({ questionId: "q" }, 1_000), { ok: true, status: "done" }, 1_000);
  const reading = arrive(fetching, ["START:q;<br/>", meta(0)], ["a", meta(1)]);
  assert.deepEqual([reading.phase, reading.answer.text], ["fetching", "a"]);
  const read = arrive(reading, ["<br/>;END:q", meta(2, { status: "stopped" })]);
  assert.deepEqual([read.phase, read.endedAt, read.firstAt], ["stopped", null, null]);
});

test("An answer that is read again while it is written is answered like any other.", () => {
  const fetching = Question.fetched({ questionId: "q", streamed: false }, 1_000);
  const running = Question.accepted(fetching, { ok: true, status: "running" }, 1_000);
  assert.deepEqual([running.phase, running.streamed], ["waiting", true]);
});

test("What a link does not say is taken from the server, where it tells.", () => {
  const fetching = Question.fetched({ questionId: "q" }, 1_000);
  assert.deepEqual([fetching.topic, fetching.question], [null, null]);
  const told = Question.accepted(fetching, { ok: true, status: "done", topic: "T", topicQuestion: "Q?" }, 1_000);
  assert.deepEqual([told.topic, told.question], ["T", "Q?"]);
  const untold = Question.accepted(fetching, { ok: true, status: "done", topic: {}, topicQuestion: 5 }, 1_000);
  assert.deepEqual([untold.topic, untold.question], [null, null]);
  assert.equal(Question.accepted(fresh(), { ok: true, topic: "other" }, 1_000).topic, "Redis");
});

test("Only what was asked in this browser is one's own.", () => {
  assert.equal(Question.isOwn(fresh()), true);
  assert.equal(Question.isOwn(Question.fetched({ questionId: "q" }, 1_000)), false);
  assert.equal(Question.isOwn(Question.fetched({ questionId: "q", askedAt: 5 }, 1_000)), true);
});

test("A reload keeps the times and loses the words.", () => {
  const before = arrive(fresh(), ["START:q;<br/>", meta(0)], ["a", meta(1), 3_000]);
  const after = Question.restored({ ...before }, 9_000);
  assert.deepEqual([after.phase, after.askedAt, after.firstAt, after.accepted], ["waiting", 1_000, 3_000, true]);
  assert.equal(after.answer.text, "");
});

test("A trouble is over once the server goes on.", () => {
  const troubled = Question.troubled(Question.stopping(fresh()), { code: "busy" });
  assert.deepEqual([troubled.stopping, troubled.trouble.code], [false, "busy"]);
  assert.equal(Question.accepted(troubled, { ok: true }, 2_000).trouble, null);
});
