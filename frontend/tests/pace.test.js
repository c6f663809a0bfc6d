/** How fast an answer was written, told by the clock of whoever wrote it. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { emptyAnswer, fold } from "../js/answer.js";
import { momentOf, noPace, paced, piecesPerSecond, thinkingTime, timesOf } from "../js/pace.js";

/** The pace of entries `[ms, attempt, number, text, status or reasoning]`, which arrive `lateMs(ms)` later. */
function paceOf(...entries) {
  return paceOfLate(() => 0, ...entries);
}

function paceOfLate(lateMs, ...entries) {
  let answer = emptyAnswer;
  let pace = noPace;
  for (const [ms, attempt, number, text, more] of entries) {
    const meta = typeof more === "string" ? { status: more } : more;
    const after = fold(answer, text, { attempt, number, id: `${ms}-0`, ...meta });
    pace = paced(pace, answer, after, ms, ms + lateMs(ms));
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

const START = [1_000, 1, 0, "START"];
const thought = (ms, number, attempt = 1) => [ms, attempt, number, "", { reasoning: "Hm." }];

test("A model has thought from its first thought until its first word.", () => {
  assert.equal(thinkingTime(paceOf(START, [2_000, 1, 1, "x"])), null);
  const entries = [START, thought(2_000, 1), thought(5_000, 2), [14_500, 1, 3, "x"], thought(20_000, 4)];
  assert.equal(thinkingTime(paceOf(...entries)), 12_500);
  assert.equal(thinkingTime(paceOf(...entries, [30_000, 1, 5, "x"], [40_000, 1, 6, "END", "done"])), 12_500);
});

test("Without any text it has thought until the end, or as far as is known.", () => {
  const broken = [START, thought(2_000, 1), thought(5_000, 2)];
  assert.equal(thinkingTime(paceOf(...broken)), 3_000);
  assert.equal(thinkingTime(paceOf(...broken, [9_000, 1, 3, "END", "failed"])), 7_000);
  const unnumbered = [99_000, 1, undefined, "END", { status: "failed" }]; // of our clock: it stands in no stream
  assert.equal(thinkingTime(paceOf(...broken, unnumbered)), 3_000);
});

test("A thought that comes only after a word has no time of its own.", () => {
  assert.equal(thinkingTime(paceOf(START, [2_000, 1, 1, "x"], thought(5_000, 2), [9_000, 1, 3, "y"])), null);
});

test("A new attempt thinks from its own first thought.", () => {
  const again = [[9_000, 2, 0, "START"], thought(10_000, 1, 2), [12_000, 2, 2, "x"]];
  assert.equal(thinkingTime(paceOf(START, thought(2_000, 1), ...again)), 2_000);
});

test("While it thinks the time passes, however wrong a clock is.", () => {
  for (const skewMs of [0, 3_600_000, -3_600_000]) {
    const pace = paceOfLate(() => skewMs + 20, START, thought(2_000, 1), thought(5_000, 2));
    assert.equal(thinkingTime(pace, skewMs + 14_020), 12_000);
  }
});

test("Entries that come late, as in a replay, do not make it longer than it is.", () => {
  const lateMs = (ms) => 6_000 - ms; // all arrive at 6,000, the last one a second after it was written
  const pace = paceOfLate(lateMs, START, thought(2_000, 1), thought(5_000, 2));
  assert.equal(thinkingTime(pace, 6_000), 3_000);
  assert.equal(thinkingTime(pace, 8_000), 5_000);
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
