/** The list of earlier questions, which several tabs write. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { createEarlier, MAX_LISTED, MAX_LISTED_CHARS } from "../js/earlier.js";
import { fakeStorage } from "./storage.js";

const SCOPE = "http://a:3000";
const entry = (questionId, more = {}) => ({
  questionId,
  topic: "Redis",
  question: `${questionId}?`,
  streamed: true,
  sent: true,
  accepted: true,
  askedAt: 1_000,
  firstAt: null,
  endedAt: null,
  status: "running",
  ...more,
});
const begin = (storage = fakeStorage(), scope = SCOPE) => createEarlier(storage, scope, () => 5_000);
const ids = (list) => list.read().map(({ questionId }) => questionId);

test("The newest stands first.", () => {
  const list = begin();
  list.add(entry("old", { askedAt: 1 }));
  list.add(entry("new", { askedAt: 3 }));
  list.add(entry("mid", { askedAt: 2 }));
  assert.deepEqual(ids(list), ["new", "mid", "old"]);
});

test("An answer that somebody shared stands where it was opened.", () => {
  const list = begin();
  list.add(entry("own", { askedAt: 4_999 }));
  list.add(entry("shared", { askedAt: null, topic: null, question: null }));
  assert.deepEqual(ids(list), ["shared", "own"]);
  assert.equal(list.read()[0].question, null);
});

test("Two tabs do not overwrite each other's entries.", () => {
  const storage = fakeStorage();
  const [one, other] = [begin(storage), begin(storage)];
  assert.deepEqual([ids(one), ids(other)], [[], []]);
  one.add(entry("a", { askedAt: 1 }));
  other.add(entry("b", { askedAt: 2 }));
  one.update(entry("a", { askedAt: 1, status: "done" }));
  assert.deepEqual(ids(one), ["b", "a"]);
  assert.deepEqual(ids(other), ["b", "a"]);
});

test("A tab that is behind takes nothing back.", () => {
  const list = begin();
  list.add(entry("a", { firstAt: 1_500, endedAt: 2_000, status: "done" }));
  list.update(entry("a", { topic: null, firstAt: null }));
  const [found] = list.read();
  assert.deepEqual([found.status, found.firstAt, found.topic], ["done", 1_500, "Redis"]);
  list.update(entry("a", { status: "expired" }));
  assert.equal(list.read()[0].status, "expired");
});

test("What was removed stays removed.", () => {
  const list = begin();
  list.add(entry("a"));
  list.remove("a");
  list.update(entry("a", { status: "done" }));
  assert.deepEqual(ids(list), []);
});

test("Beyond the bounds the oldest go, by number and by size.", () => {
  const storage = fakeStorage();
  const list = begin(storage);
  for (let index = 0; index <= MAX_LISTED; index += 1) list.add(entry(`q${index}`, { askedAt: index }));
  assert.equal(storage.items.size, MAX_LISTED);
  assert.equal(ids(list).includes("q0"), false);
  list.add(entry("long", { askedAt: 99, question: "x".repeat(MAX_LISTED_CHARS - 1_000) }));
  assert.equal(ids(list)[0], "long");
  assert.ok([...storage.items.values()].join("").length <= MAX_LISTED_CHARS);
  assert.ok(ids(list).length < 10);
});

test("Each backend has a list of its own.", () => {
  const storage = fakeStorage();
  begin(storage).add(entry("a"));
  assert.deepEqual(ids(begin(storage, "http://b:3000")), []);
});

test("What others have stored there is no entry.", () => {
  const storage = fakeStorage();
  const junk = ["", "{", "null", "5", "[]", '{"questionId":5,"status":"done"}', '{"questionId":"x","status":"new"}'];
  junk.forEach((text, index) => storage.setItem(`question ${SCOPE} ${index}`, text));
  storage.setItem("something else", JSON.stringify(entry("x")));
  assert.deepEqual(ids(begin(storage)), []);
});

test("Storage that is full or forbidden makes the list shorter, no more.", () => {
  for (const storage of [null, fakeStorage({ full: true })]) {
    const list = begin(storage);
    list.add(entry("a"));
    list.update(entry("a"));
    list.remove("a");
    assert.deepEqual(list.read(), []);
  }
});

test("Events of other storage are somebody else's.", () => {
  const { concerns } = begin();
  assert.equal(concerns({ key: `question ${SCOPE} a` }), true);
  assert.equal(concerns({ key: null }), true, "all was cleared");
  assert.equal(concerns({ key: "theme" }), false);
});
