/** What a tab and the list remember of the questions on the page, and what a reload makes of it. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { createEarlier } from "../js/earlier.js";
import { createMemory } from "../js/memory.js";
import { createTab } from "../js/tab.js";
import { begin, OK, refused, settled } from "./rig.js";
import { fakeStorage } from "./storage.js";

const SCOPE = "http://a:3000";

/** A page whose memory outlives it; `tab` is that of one tab, `shared` that of the browser. */
function open({ tab = fakeStorage(), shared = fakeStorage(), ...options } = {}) {
  const page = begin(options);
  const kept = createTab(tab, SCOPE);
  const earlier = createEarlier(shared, SCOPE);
  const memory = createMemory({ store: page.store, tab: kept, earlier });
  page.session.restore(kept.read());
  return {
    ...page,
    memory,
    statuses: () => page.store.get().earlier.map(({ status }) => status),
    reload: (more = {}) => open({ tab, shared, ...more }),
    anotherTab: (more = {}) => open({ shared, ...more }),
  };
}

test("A reload resumes every unfinished answer from its start.", async () => {
  const first = open();
  await first.connect();
  await first.ask("One?");
  await first.ask("Two?");
  first.entry(0, "START:q1;<br/>");
  first.entry(1, "a");
  const second = first.reload();
  await second.connect();
  assert.deepEqual(second.requests, [
    ["resumeQuestion", { questionId: "q1" }],
    ["resumeQuestion", { questionId: "q2" }],
  ]);
  assert.equal(second.question(0).firstAt, 1_000);
});

test("A reload before the server had the question asks again, with the same id.", async () => {
  const first = open();
  await first.ask();
  const second = first.reload();
  await second.connect();
  assert.deepEqual(second.requests, [["askQuestion", { topic: "Redis", topicQuestion: "Why?", questionId: "q1" }]]);
});

test("A finished answer is fetched again after a reload; if it is gone, that is told.", async () => {
  const first = open();
  await first.connect();
  await first.ask();
  first.entry(0, "START:q1;<br/>");
  first.entry(1, "<br/>;END:q1", { status: "done" });
  const second = first.reload({ replies: [refused("expired", false)] });
  assert.equal(second.question().phase, "fetching");
  await second.connect();
  assert.equal(second.question().answer.error.code, "expired");
  assert.deepEqual(second.statuses(), ["expired"]);
});

test("A refused question is neither listed nor remembered.", async () => {
  const first = open({ replies: [refused("busy", true)] });
  await first.connect();
  await first.ask();
  assert.deepEqual(first.statuses(), []);
  assert.deepEqual(first.reload().store.get().questions, []);
});

test("What a plain server says cannot be read again, and is not remembered.", async () => {
  const first = open({ replies: [() => new Promise(() => {})] });
  await first.connect();
  await first.ask();
  for (const text of ["START:1;<br/>", "a", "<br/>;END:1"]) first.session.chunk(text);
  assert.deepEqual(first.statuses(), []);
  assert.deepEqual(first.reload().store.get().questions, []);
});

test("The list tells how an answer goes, in other tabs, too.", async () => {
  const first = open();
  const other = first.anotherTab();
  await first.connect();
  await first.ask();
  assert.deepEqual(first.statuses(), ["running"]);
  first.entry(0, "START:q1;<br/>");
  first.entry(1, "<br/>;END:q1", { status: "stopped" });
  other.memory.storageChanged({ key: "theme" });
  assert.deepEqual(other.statuses(), []);
  other.memory.storageChanged({ key: null });
  assert.deepEqual(other.statuses(), ["stopped"]);
});

test("What was removed from the list does not come back while its answer goes on, nor with a reload.", async () => {
  const first = open();
  await first.connect();
  await first.ask();
  first.memory.forget("q1");
  first.entry(0, "START:q1;<br/>");
  first.entry(1, "a");
  assert.deepEqual(first.statuses(), []);
  const second = first.reload();
  await second.connect();
  assert.deepEqual(second.statuses(), []);
  assert.equal(second.question().questionId, "q1");
});

test("An answer opened by its link is listed once the server has shown that it exists.", async () => {
  const page = open({ replies: [refused("expired", false), OK] });
  await page.connect();
  page.session.read({ questionId: "gone" });
  await settled();
  assert.deepEqual(page.statuses(), []);
  page.session.read({ questionId: "there" });
  await settled();
  assert.equal(page.store.get().earlier[0].questionId, "there");
});

test("A closed question stays closed after a reload, and on the list.", async () => {
  const first = open();
  await first.connect();
  await first.ask();
  first.session.close("q1");
  const second = first.reload();
  assert.deepEqual(second.store.get().questions, []);
  assert.deepEqual(second.statuses(), ["running"]);
});

test("What was typed and not asked yet is kept, as long as it can be.", () => {
  const storage = fakeStorage();
  createTab(storage, SCOPE).writeDraft({ topic: "Redis", question: "Half a", streamed: true });
  assert.equal(createTab(storage, SCOPE).readDraft().question, "Half a");
  assert.equal(createTab(storage, "http://b:3000").readDraft(), null);
  for (const broken of ["{", "5", '{"topic":1}']) {
    storage.setItem(`draft ${SCOPE}`, broken);
    assert.equal(createTab(storage, SCOPE).readDraft(), null);
  }
  createTab(null, SCOPE).writeDraft({ topic: "", question: "" });
  assert.equal(createTab(null, SCOPE).readDraft(), null);
});
