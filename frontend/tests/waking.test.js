/** The page notices that it was away. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { onWaking } from "../js/waking.js";

function begin() {
  const document = Object.assign(new EventTarget(), { visibilityState: "visible" });
  const window = Object.assign(new EventTarget(), { document });
  const clock = { ms: 0 };
  let woken = 0;
  onWaking(() => (woken += 1), { window, now: () => clock.ms });
  const turn = (visibilityState) => {
    document.visibilityState = visibilityState;
    document.dispatchEvent(new Event("visibilitychange"));
  };
  return { window, clock, turn, woken: () => woken };
}

test("A tab that was hidden for long wakes; a glance elsewhere does not count.", () => {
  const { clock, turn, woken } = begin();
  turn("hidden");
  clock.ms = 9_000;
  turn("visible");
  assert.equal(woken(), 0);
  turn("hidden");
  clock.ms = 60_000;
  turn("visible");
  assert.equal(woken(), 1);
});

test("A page out of the browser's cache wakes; a page that is loaded does not.", () => {
  const { window, woken } = begin();
  window.dispatchEvent(Object.assign(new Event("pageshow"), { persisted: false }));
  assert.equal(woken(), 0);
  window.dispatchEvent(Object.assign(new Event("pageshow"), { persisted: true }));
  assert.equal(woken(), 1);
});

test("The network's return wakes.", () => {
  const { window, woken } = begin();
  window.dispatchEvent(new Event("online"));
  assert.equal(woken(), 1);
});
