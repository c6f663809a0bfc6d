/** Several questions on one page: none gets the words of another. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { MAX_QUESTIONS } from "../js/state.js";
import { begin, LOST, OK, refused, settled } from "./rig.js";

const never = () => new Promise(() => {});
const of = (questionId, number, more = {}) => ({ questionId, id: `5-${number}`, attempt: 1, number, ...more });

test("Two answers that come at the same time do not mix.", async () => {
  const { connect, ask, session, question } = begin();
  await connect();
  await ask("One?");
  await ask("Two?");
  for (const id of ["q1", "q2"]) session.chunk(`START:${id};<br/>`, of(id, 0));
  session.chunk("a", of("q1", 1));
  session.chunk("x", of("q2", 1));
  session.chunk("b", of("q1", 2));
  session.chunk("<br/>;END:q1", of("q1", 3, { status: "done" }));
  session.chunk("y", of("q2", 2));
  assert.equal(question(0).answer.text, "ab");
  assert.equal(question(1).answer.text, "xy");
  assert.deepEqual([question(0).phase, question(1).phase], ["done", "answering"]);
});

test("The chunks of questions that are not on the page change nothing.", async () => {
  const { connect, ask, session, store } = begin();
  await connect();
  await ask();
  const before = store.get();
  session.chunk("START:x;<br/>", of("x", 0));
  session.chunk("START:x;<br/>"); // a plain one, where the server is known to be ours
  session.chunk({ toString: () => "no text" }, of("q1", 0));
  assert.equal(store.get(), before);
});

test("A reconnect goes on with all that is unfinished, and with nothing else.", async () => {
  const page = begin();
  await page.connect();
  for (const question of ["One?", "Two?", "Three?"]) await page.ask(question);
  page.session.chunk("START:q2;<br/>", of("q2", 0));
  page.session.chunk("<br/>;END:q2", of("q2", 1, { status: "done" }));
  await page.lose();
  await page.connect();
  assert.deepEqual(page.requests.slice(3), [
    ["resumeQuestion", { questionId: "q1" }],
    ["resumeQuestion", { questionId: "q3" }],
  ]);
});

test("As long as nobody knows what the server is, the second question waits for the first one's word.", async () => {
  let acknowledge;
  const page = begin({ replies: [() => new Promise((resolve) => (acknowledge = resolve))] });
  await page.ask("One?");
  await page.ask("Two?");
  await page.connect();
  assert.deepEqual(page.events(), ["askQuestion"]);
  acknowledge(OK);
  await settled();
  assert.deepEqual(page.events(), ["askQuestion", "askQuestion"]);
});

test("A plain server is asked one question after the other.", async () => {
  const { connect, ask, session, question, requests } = begin({ replies: [never, never] });
  await connect();
  await ask("One?");
  await ask("Two?");
  for (const text of ["START:7;<br/>", "a", "<br/>;END:7"]) session.chunk(text);
  assert.equal(requests.length, 2);
  for (const text of ["START:8;<br/>", "x"]) session.chunk(text);
  assert.equal(question(0).answer.text, "a");
  assert.equal(question(0).phase, "done");
  assert.equal(question(1).answer.text, "x");
});

test("A plain server's answer is broken off where the connection is, and the next question goes out.", async () => {
  const page = begin({ replies: [never, never] });
  await page.connect();
  await page.ask("One?");
  await page.ask("Two?");
  page.session.chunk("START:1;<br/>");
  page.session.chunk("a");
  await page.lose();
  assert.equal(page.question(0).phase, "failed");
  assert.equal(page.question(0).answer.text, "a");
  await page.connect();
  assert.equal(page.requests[1][1].topicQuestion, "Two?");
});

test("Whoever stops reading a plain server's answer gets a connection without its words.", async () => {
  const { connect, ask, session, question, connection, events } = begin({ replies: [never] });
  await connect();
  const id = await ask();
  session.chunk("START:1;<br/>");
  session.stop(id);
  assert.equal(question().phase, "stopped");
  assert.equal(connection.renewed, 1);
  assert.deepEqual(events(), ["askQuestion"]);
});

test("A stop that an unknown server does not acknowledge ends the reading.", async () => {
  const { connect, ask, session, question, connection } = begin({ replies: [never, LOST] });
  await connect();
  session.stop(await ask());
  await settled();
  assert.equal(question().phase, "stopped");
  assert.equal(connection.renewed, 1);
});

test("A question that failed is asked anew in its place, under a new id.", async () => {
  const { connect, ask, session, question, requests } = begin({ replies: [refused("busy", true)] });
  await connect();
  await ask("One?");
  await ask("Two?");
  assert.equal(session.retry("q1"), "q3");
  await settled();
  assert.deepEqual([question(0).questionId, question(1).questionId], ["q3", "q2"]);
  assert.deepEqual(requests.at(-1)[1], { topic: "Redis", topicQuestion: "One?", questionId: "q3" });
  assert.equal(session.retry("q3"), null, "what runs is not asked again in its place");
});

test("The same question can be asked again beside its answer.", async () => {
  const { connect, ask, session, question } = begin();
  await connect();
  await ask("One?");
  assert.equal(session.askAgain("q1"), "q2");
  assert.equal(question(1).question, "One?");
  assert.equal(session.askAgain("gone"), null);
});

test("A closed question is listened to no more, and not stopped.", async () => {
  const { connect, ask, session, store, events } = begin();
  await connect();
  await ask();
  session.close("q1");
  session.chunk("START:q1;<br/>", of("q1", 0));
  assert.deepEqual(store.get().questions, []);
  assert.deepEqual(events(), ["askQuestion"]);
});

test("Beyond the bound the oldest answer that has ended leaves the page.", async () => {
  const { connect, ask, session, store } = begin();
  await connect();
  for (let count = 0; count < MAX_QUESTIONS; count += 1) await ask();
  session.chunk("START:q2;<br/>", of("q2", 0));
  session.chunk("<br/>;END:q2", of("q2", 1, { status: "done" }));
  await ask();
  const ids = store.get().questions.map(({ questionId }) => questionId);
  assert.equal(ids.length, MAX_QUESTIONS);
  assert.equal(ids.includes("q2"), false);
  session.chunk("late", of("q2", 2));
});

test("Where all of them are under way, one more is refused in words.", async () => {
  const { connect, ask, store } = begin();
  await connect();
  for (let count = 0; count < MAX_QUESTIONS; count += 1) await ask();
  assert.equal(await ask(), null);
  assert.match(store.get().trouble.message, /under way/);
  assert.equal(store.get().questions.length, MAX_QUESTIONS);
});
