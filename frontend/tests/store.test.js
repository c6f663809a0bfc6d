/** The store: everybody hears of every change, in the order in which they happened. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { createStore } from "../js/store.js";

test("Listeners hear of a change, and of nothing else.", () => {
  const heard = [];
  const store = createStore(1);
  store.subscribe((after, before) => heard.push([after, before]));
  store.update((value) => value + 1);
  store.update((value) => value);
  assert.deepEqual(heard, [[2, 1]]);
  assert.equal(store.get(), 2);
});

test("A listener that changes the state does not overtake another one.", () => {
  const heard = [];
  const store = createStore(0);
  store.subscribe((value) => value < 3 && store.update((state) => state + 1));
  store.subscribe((after, before) => heard.push([after, before]));
  store.update(() => 1);
  assert.deepEqual(heard, [[1, 0], [2, 1], [3, 2]]);
});

test("After a listener has failed, the others are still told.", () => {
  const heard = [];
  const store = createStore(0);
  store.subscribe((value) => heard.push(value));
  store.subscribe((value) => {
    if (value === 1) throw new Error("mine");
  });
  assert.throws(() => store.update(() => 1), /mine/);
  store.update(() => 2);
  assert.deepEqual(heard, [1, 2]);
});
