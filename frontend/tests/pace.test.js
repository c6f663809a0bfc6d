/** How fast an answer was written, told by the clock of whoever wrote it. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { emptyAnswer, fold } from "../js/answer.js";
import { momentOf, noPace, paced, piecesPerSecond, timesOf } from "../js/pace.js";

/** The pace of entries `[ms, attempt, number, text, status]`. */
function paceOf(...entries) {
  let answer = emptyAnswer;
  let pace = noPace;
  for (const [ms, attempt, number, text, status] of entries) {
    const after = fold(answer, text, { attempt, number, id: `${ms}-0`, status });
    pace = paced(pace, answer, after, ms);
    answer = after;
  }
  return pace;
}

const pieces = (count, from, everyMs) =>
  Array.from({ length: count }, (_, index) => [from + index * everyMs, 1, index + 1, "x"]);

test("An id tells its time.", () => {
  assert.equal(momentOf("1763815980101-7"), 1_763_815_980_101);
  for (const id of [undefined, "", "x", "1", "1-2-3"]) assert.equal(momentOf(id), null);
});

test("Pieces are counted from the first to the last.", () => {
  const pace = paceOf([1_000, 1, 0, "START"], ...pieces(11, 2_000, 100), [9_000, 1, 12, "END", "done"]);
  assert.equal(pace.pieces, 11);
  assert.equal(piecesPerSecond(pace), 10);
  assert.deepEqual([pace.startedAt, pace.firstAt, pace.endedAt], [1_000, 2_000, 9_000]);
});

test("A few pieces, or pieces of one moment, have no pace.", () => {
  assert.equal(piecesPerSecond(noPace), null);
  assert.equal(piecesPerSecond(paceOf([1_000, 1, 0, "START"], ...pieces(4, 2_000, 100))), null);
  assert.equal(piecesPerSecond(paceOf([1_000, 1, 0, "START"], ...pieces(9, 2_000, 0))), null);
});

test("A new attempt counts anew.", () => {
  const pace = paceOf([1_000, 1, 0, "START"], ...pieces(6, 2_000, 100), [5_000, 2, 0, "START"]);
  assert.deepEqual([pace.pieces, pace.startedAt, pace.firstAt], [0, 5_000, null]);
});

test("An entry that is missing does not end anything.", () => {
  const holed = paceOf([1_000, 1, 0, "START"], [2_000, 1, 2, "late"]);
  assert.deepEqual([holed.pieces, holed.endedAt], [0, null]);
});

const own = { streamed: true, askedAt: 1_000, firstAt: 1_500, endedAt: 4_000, pace: noPace, answer: { status: "done" } };

test("Who asked is told what they have seen.", () => {
  assert.deepEqual(timesOf(own, 9_000), { first: 500, total: 3_000 });
  const running = { ...own, endedAt: null, answer: { status: "running" } };
  assert.deepEqual(timesOf(running, 9_000), { first: 500, total: 8_000 });
  assert.deepEqual(timesOf({ ...running, firstAt: null }, 9_000), { first: null, total: 8_000 });
});

test("An answer in one go has no first piece.", () => {
  assert.deepEqual(timesOf({ ...own, streamed: false }, 9_000), { first: null, total: 3_000 });
});

test("Others are told how the server wrote it.", () => {
  const pace = { ...noPace, startedAt: 100, firstAt: 350, endedAt: 1_100 };
  assert.deepEqual(timesOf({ ...own, askedAt: null, pace }, 9_000), { first: 250, total: 1_000 });
  assert.deepEqual(timesOf({ ...own, askedAt: null }, 9_000), { first: null, total: null });
});
