/** The fold: whatever is doubled, late or missing, the answer is the same. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { emptyAnswer, fold, MAX_REASONING_CHARS } from "../js/answer.js";

/** The entries of one attempt: START, the pieces, and an END unless it broke off. */
function attempt(number, pieces, ending = { status: "done" }) {
  const entries = ["START:q;<br/>", ...pieces].map((text, index) => [text, { attempt: number, number: index }]);
  if (ending) entries.push(["<br/>;END:q", { attempt: number, number: entries.length, ...ending }]);
  return entries.map(([text, meta]) => [text, { questionId: "q", id: `${number}-${meta.number}`, ...meta }]);
}

const read = (entries, from = emptyAnswer) => entries.reduce((answer, [text, meta]) => fold(answer, text, meta), from);
const whole = attempt(1, ["a", "b", "c"]);

test("The labels are no part of the text.", () => {
  const answer = read(whole);
  assert.equal(answer.text, "abc");
  assert.equal(answer.status, "done");
  assert.equal(answer.lastId, "1-4");
});

test("A text that looks like a label is text.", () => {
  assert.equal(read(attempt(1, ["<br/>;END:q", "START:q;<br/>"])).text, "<br/>;END:qSTART:q;<br/>");
});

test("An entry that comes twice counts once.", () => {
  assert.equal(read(whole.flatMap((entry) => [entry, entry])).text, "abc");
  assert.equal(read([...whole.slice(0, 3), ...whole]).text, "abc");
});

test("A new attempt replaces the text of the old one, at its START.", () => {
  const broken = attempt(1, ["a", "b"], null);
  const again = attempt(2, ["x"]);
  assert.equal(read([...broken, again[0]]).text, "");
  assert.equal(read([...broken, ...again]).text, "x");
});

test("What an old attempt still writes is ignored.", () => {
  const [start, ...rest] = attempt(1, ["a", "b"]);
  assert.equal(read([start, ...attempt(2, ["x"], null), ...rest]).text, "x");
});

test("Nothing follows the END.", () => {
  const closed = read(whole);
  assert.equal(read(attempt(2, ["x"]), closed), closed);
});

test("A missing entry is noticed, and what follows waits for it.", () => {
  const [start, a, b, c, end] = whole;
  const holed = read([start, a, c]);
  assert.equal(holed.hole, true);
  assert.equal(holed.lastId, "1-1");
  assert.equal(read([end], holed), holed);
  assert.equal(read([b, c, end], holed).text, "abc");
  assert.equal(read([b], holed).hole, false);
});

test("An attempt whose START is missing is a hole, too.", () => {
  const answer = read(attempt(2, ["x"]).slice(1), read(attempt(1, ["a"], null)));
  assert.equal(answer.hole, true);
  assert.equal(answer.text, "a");
});

test("The line for pages that show only text is skipped.", () => {
  const line = ["Sorry.", { questionId: "q", attempt: 1, notice: true }];
  const error = { code: "model_error", message: "Sorry.", retryable: true };
  const entries = attempt(1, ["a"], { status: "failed", error });
  const answer = read([...entries.slice(0, -1), line, entries.at(-1)]);
  assert.equal(answer.text, "a");
  assert.equal(answer.status, "failed");
  assert.deepEqual(answer.error, error);
});

test("An end that stands in no stream, without id and number, ends the answer.", () => {
  const error = { code: "expired", message: "Gone.", retryable: false };
  const lost = [["<br/>;END:q", { questionId: "q", attempt: 1, status: "failed", error }]];
  const answer = read([...attempt(1, ["a"], null), ...lost]);
  assert.equal(answer.status, "failed");
  assert.deepEqual(answer.error, error);
  assert.equal(answer.lastId, "1-1");
});

test("A refusal of a second asking does not touch the running answer.", () => {
  const running = read(attempt(1, ["a"], null));
  assert.equal(read([["<br/>;END:q", { questionId: "q", attempt: 0, status: "failed" }]], running), running);
});

test("The reason for which the model ended is kept.", () => {
  assert.equal(read(attempt(1, ["a"], { status: "done", finishReason: "length" })).finishReason, "length");
});

/** An attempt with thoughts: `["thought", text]` and `["text", text]`. */
function thinking(number, steps, ending) {
  const entries = attempt(number, steps.map(([kind, text]) => (kind === "text" ? text : "")), ending);
  steps.forEach(([kind, text], index) => kind === "thought" && (entries[index + 1][1].reasoning = text));
  return entries;
}

const thoughtful = [["thought", "Hm. "], ["thought", "Well."], ["text", "a"], ["thought", " And?"], ["text", "b"]];

test("What the model thinks is kept apart from the text, wherever it comes.", () => {
  const answer = read(thinking(1, thoughtful));
  assert.deepEqual([answer.reasoning, answer.text, answer.status], ["Hm. Well. And?", "ab", "done"]);
});

test("Thoughts and text are counted in one sequence.", () => {
  const [start, , ...later] = thinking(1, thoughtful);
  const holed = read([start, ...later]);
  assert.deepEqual([holed.hole, holed.reasoning, holed.text], [true, "", ""]);
  const entries = thinking(1, thoughtful);
  assert.deepEqual(read(entries.flatMap((entry) => [entry, entry])), read(entries));
});

test("A new attempt thinks anew.", () => {
  const broken = thinking(1, thoughtful, null);
  const [start, ...rest] = thinking(2, [["thought", "Again."], ["text", "x"]]);
  assert.deepEqual([read([...broken, start]).reasoning, read([...broken, start]).text], ["", ""]);
  assert.equal(read([...broken, start, ...rest]).reasoning, "Again.");
});

test("A thought that is no text changes nothing but the count.", () => {
  for (const odd of [5, null, {}, ["x"], ""]) {
    const entries = attempt(1, ["", "a"]);
    entries[1][1].reasoning = odd;
    assert.deepEqual([read(entries).reasoning, read(entries).text], ["", "a"]);
  }
});

test("So much is kept of a thought, and it ends between two entries.", () => {
  const half = "x".repeat(MAX_REASONING_CHARS / 2);
  const answer = read(thinking(1, [["thought", half], ["thought", half], ["thought", "y"], ["text", "a"]]));
  assert.deepEqual([answer.reasoning.length, answer.reasoningCut, answer.text], [MAX_REASONING_CHARS, true, "a"]);
  const gap = read(thinking(1, [["thought", "x"], ["thought", half + half], ["thought", "y"]]));
  assert.deepEqual([gap.reasoning, gap.reasoningCut], ["x", true]);
  assert.equal(read(thinking(1, [["thought", half], ["thought", half]])).reasoningCut, false);
});

test("What an answer cost is kept where it is told, and is never 0 where it is not.", () => {
  const usage = { inputTokens: 12, outputTokens: 0, reasoningTokens: "9" };
  const told = read(attempt(1, ["a"], { status: "done", usage, model: "m" }));
  assert.deepEqual(told.usage, { inputTokens: 12, outputTokens: 0, reasoningTokens: null });
  assert.equal(told.model, "m");
  for (const odd of [undefined, null, 5, {}, { inputTokens: -1, outputTokens: 1.5 }]) {
    const untold = read(attempt(1, ["a"], { status: "done", usage: odd, model: odd }));
    assert.deepEqual([untold.usage, untold.model], [null, null]);
  }
});

test("Any order in which a stream is read twice gives the same answer.", () => {
  const stream = [...attempt(1, ["a", "b"], null), ...attempt(2, ["x", "y", "z"])];
  for (let cut = 0; cut <= stream.length; cut += 1) {
    for (let back = 0; back <= cut; back += 1) {
      assert.equal(read([...stream.slice(0, cut), ...stream.slice(back)]).text, "xyz", `${cut}, ${back}`);
    }
  }
});
