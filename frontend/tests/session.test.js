/** The conversation with the server, against a connection that does as it is told. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { createSession } from "../js/session.js";
import { initialState } from "../js/state.js";
import { createStore } from "../js/store.js";

const LOST = { ok: false, lost: true };
const OK = { ok: true, status: "running" };
const refused = (code, retryable) => ({ ok: false, error: { code, message: `${code}!`, retryable } });
const settled = () => new Promise((resolve) => setImmediate(resolve));

/** A session on a connection whose acknowledgements are given by `replies`, in turn, else OK. */
function begin({ replies = [], stored = null, post = null } = {}) {
  const requests = [];
  const connection = {
    up: false,
    isConnected: () => connection.up,
    request: async (event, payload) => {
      requests.push([event, payload]);
      const reply = replies.length ? replies.shift() : OK;
      return typeof reply === "function" ? reply() : reply;
    },
  };
  const saved = {
    value: stored,
    read: () => saved.value,
    write: (state) => (saved.value = JSON.parse(JSON.stringify(state))),
    clear: () => (saved.value = null),
  };
  const pauses = [];
  const store = createStore(initialState);
  const session = createSession({
    store, connection, saved, post, newId: () => "q", now: () => 1_000,
    pause: async (ms) => void pauses.push(ms),
  });
  return {
    store, session, connection, saved, requests, pauses,
    events: () => requests.map(([event]) => event),
    connect: async () => {
      connection.up = true;
      session.connectionChanged("connected");
      await session.connected();
    },
    lose: () => {
      connection.up = false;
      session.connectionChanged("reconnecting");
    },
    ask: async () => {
      const taken = session.ask({ topic: "Redis", question: "Why?", streamed: true });
      await settled();
      return taken;
    },
    entry: (number, text, more = {}) =>
      session.chunk(text, { questionId: "q", id: `5-${number}`, attempt: 1, number, ...more }),
  };
}

test("A question asked while offline is sent once there is a connection.", async () => {
  const { ask, connect, requests } = begin();
  await ask();
  assert.deepEqual(requests, []);
  await connect();
  assert.deepEqual(requests, [["askQuestion", { topic: "Redis", topicQuestion: "Why?", questionId: "q" }]]);
});

test("One question at a time.", async () => {
  const { ask, connect } = begin();
  await connect();
  assert.equal(await ask(), true);
  assert.equal(await ask(), false);
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
  const { ask, connect, events, store } = begin({ replies: [LOST] });
  await connect();
  await ask();
  assert.deepEqual(events(), ["askQuestion"]);
  assert.equal(store.get().phase, "waiting");
});

test("A reconnect resumes behind the last entry.", async () => {
  const page = begin();
  await page.connect();
  await page.ask();
  page.entry(0, "START:q;<br/>");
  page.entry(1, "a");
  page.lose();
  await page.connect();
  assert.deepEqual(page.requests.at(-1), ["resumeQuestion", { questionId: "q", after: "5-1" }]);
});

test("A reload resumes from the start.", async () => {
  const first = begin();
  await first.connect();
  await first.ask();
  first.entry(0, "START:q;<br/>");
  first.entry(1, "a");
  const second = begin({ stored: first.saved.value });
  second.session.restore();
  await second.connect();
  assert.deepEqual(second.requests, [["resumeQuestion", { questionId: "q" }]]);
  assert.equal(second.store.get().phase, "waiting");
});

test("A reload before the server had the question asks again, with the same id.", async () => {
  const first = begin();
  await first.ask();
  const second = begin({ stored: first.saved.value });
  second.session.restore();
  await second.connect();
  assert.deepEqual(second.events(), ["askQuestion"]);
});

test("A finished answer is fetched again after a reload; if it is gone, the page starts empty.", async () => {
  const first = begin();
  await first.connect();
  await first.ask();
  first.entry(0, "START:q;<br/>");
  first.entry(1, "<br/>;END:q", { status: "done" });
  assert.equal(first.store.get().phase, "done");
  const second = begin({ stored: first.saved.value, replies: [refused("expired", false)] });
  second.session.restore();
  await second.connect();
  assert.equal(second.store.get().phase, "idle");
  assert.equal(second.saved.value, null);
});

test("A refused question ends in the server's words, and is not remembered.", async () => {
  const { ask, connect, store, saved } = begin({ replies: [refused("busy", true)] });
  await connect();
  await ask();
  assert.equal(store.get().phase, "failed");
  assert.equal(store.get().answer.error.message, "busy!");
  assert.equal(saved.value, null);
});

test("The chunks of a refusal are left to pages without acknowledgements.", async () => {
  const page = begin({ replies: [() => new Promise(() => {})] });
  await page.connect();
  await page.ask();
  const error = refused("busy", true).error;
  page.session.chunk("START:q;<br/>", { questionId: "q", attempt: 0, number: 0 });
  page.session.chunk("busy!", { questionId: "q", attempt: 0, notice: true });
  page.session.chunk("<br/>;END:q", { questionId: "q", attempt: 0, status: "failed", error });
  assert.equal(page.store.get().phase, "waiting");
  assert.equal(page.store.get().accepted, false);
});

test("A second asking that is refused for now is repeated: the first one may have been heard.", async () => {
  const page = begin({ replies: [() => (page.lose(), LOST), refused("busy", true), OK] });
  await page.connect();
  await page.ask();
  await page.connect();
  assert.deepEqual(page.events(), ["askQuestion", "askQuestion", "askQuestion"]);
  assert.equal(page.store.get().phase, "waiting");
  assert.equal(page.store.get().accepted, true);
  assert.equal(page.store.get().trouble, null);
});

test("A resume that fails for now is repeated; one that fails for good ends the answer.", async () => {
  const later = refused("storage_unavailable", true);
  const page = begin({ replies: [OK, later, later, refused("expired", false)] });
  await page.connect();
  await page.ask();
  page.lose();
  await page.connect();
  assert.deepEqual(page.pauses, [1_000, 2_000]);
  assert.equal(page.store.get().answer.error.code, "expired");
});

test("A missing entry is fetched once.", async () => {
  const page = begin();
  await page.connect();
  await page.ask();
  page.entry(0, "START:q;<br/>");
  page.entry(2, "b");
  page.entry(3, "c");
  await settled();
  assert.deepEqual(page.requests.slice(1), [["resumeQuestion", { questionId: "q", after: "5-0" }]]);
  for (const [number, text] of [[1, "a"], [2, "b"], [3, "c"]]) page.entry(number, text);
  assert.equal(page.store.get().answer.text, "abc");
});

test("A server that cannot read on is asked to, and in the end believed.", async () => {
  const page = begin();
  await page.connect();
  await page.ask();
  const error = { code: "storage_unavailable", message: "Later.", retryable: true };
  const breakOff = () => page.session.chunk("<br/>;END:q", { questionId: "q", attempt: 1, status: "failed", error });
  page.entry(0, "START:q;<br/>");
  for (let round = 0; round < 4; round += 1) {
    breakOff();
    await settled();
  }
  assert.equal(page.events().filter((event) => event === "resumeQuestion").length, 4);
  assert.equal(page.store.get().phase, "waiting");
  breakOff();
  assert.equal(page.store.get().phase, "failed");
});

test("The chunks of other questions are not shown.", async () => {
  const page = begin();
  await page.connect();
  await page.ask();
  page.session.chunk("START:x;<br/>", { questionId: "x", id: "1-0", attempt: 1, number: 0 });
  page.session.chunk("START:x;<br/>"); // a plain one, once our server has acknowledged
  assert.equal(page.store.get().answer.next, 0);
  assert.equal(page.store.get().plain, false);
});

test("Stop waits for the END.", async () => {
  const page = begin();
  await page.connect();
  await page.ask();
  page.session.stop();
  page.session.stop();
  await settled();
  assert.deepEqual(page.events(), ["askQuestion", "stopQuestion"]);
  assert.equal(page.store.get().stopping, true);
  page.entry(0, "START:q;<br/>");
  page.entry(1, "<br/>;END:q", { status: "stopped" });
  assert.equal(page.store.get().phase, "stopped");
  assert.equal(page.store.get().stopping, false);
});

test("A stop that was not heard is repeated after the reconnect, before the resume.", async () => {
  const page = begin();
  await page.connect();
  await page.ask();
  page.lose();
  page.session.stop();
  await page.connect();
  assert.deepEqual(page.events(), ["askQuestion", "stopQuestion", "resumeQuestion"]);
});

test("A stop that is not confirmed says so and can be repeated.", async () => {
  const page = begin({ replies: [OK, LOST] });
  await page.connect();
  await page.ask();
  page.session.stop();
  await settled();
  assert.equal(page.store.get().stopping, false);
  assert.match(page.store.get().trouble.message, /not confirmed/);
});

test("A question that never left the page is stopped here.", async () => {
  const { ask, session, connect, store, requests } = begin();
  await ask();
  session.stop();
  await connect();
  assert.equal(store.get().phase, "stopped");
  assert.deepEqual(requests, []);
});

test("A plain server's answer is shown, and broken off where the connection is.", async () => {
  const page = begin({ replies: [() => new Promise(() => {})] });
  await page.connect();
  await page.ask();
  page.session.chunk("START:1;<br/>");
  page.session.chunk("a");
  assert.equal(page.store.get().answer.text, "a");
  assert.equal(page.saved.value, null);
  page.lose();
  assert.equal(page.store.get().phase, "failed");
});

test("An answer by POST survives a reconnect of the socket.", async () => {
  let deliver;
  const page = begin({ post: () => new Promise((resolve) => (deliver = resolve)) });
  await page.connect();
  page.session.ask({ topic: "Redis", question: "Why?", streamed: false });
  page.lose();
  await page.connect();
  deliver("whole");
  await settled();
  assert.equal(page.store.get().answer.text, "whole");
  assert.deepEqual(page.requests, []);
  assert.equal(page.saved.value, null);
});

test("Without a client there is still the answer in one go.", async () => {
  const page = begin({ post: async () => "whole" });
  page.session.unavailable(new Error("no client"));
  await page.ask();
  assert.equal(page.store.get().answer.error.message, "no client");
  page.session.ask({ topic: "Redis", question: "Why?", streamed: false });
  await settled();
  assert.equal(page.store.get().phase, "done");
});
