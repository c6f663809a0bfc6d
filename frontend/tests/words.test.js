/** What people are told. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { headline, listedWords, moment, rate, seconds, span, tokens } from "../js/format.js";
import { noPace } from "../js/pace.js";
import * as Question from "../js/question.js";
import { errorWords, progress, thinkingWords } from "../js/words.js";

const asked = (more = {}) => ({
  ...Question.asked({ questionId: "q", topic: "T", question: "Q?", streamed: true }, 0),
  sent: true,
  accepted: true,
  ...more,
});
const kind = (more, connection = "connected", now = 0) => progress(asked(more), connection, now).kind;

test("Every state has a word of its own.", () => {
  assert.equal(kind({ sent: false }), "held");
  assert.equal(kind({ accepted: false }), "sending");
  assert.equal(kind({ queued: true }), "queued");
  assert.equal(kind({}), "waiting");
  assert.equal(kind({ answer: { attempt: 2 } }), "again");
  assert.equal(kind({ answer: { attempt: 2, reasoning: "Hm." } }), "thinking");
  assert.equal(kind({ phase: "answering", answer: { attempt: 1, reasoning: "Hm." } }), "answering");
  assert.equal(kind({ phase: "answering" }), "answering");
  assert.equal(kind({ phase: "fetching" }), "fetching");
  assert.equal(kind({ stopping: true }), "stopping");
  assert.equal(kind({ streamed: false }), "whole");
  const failed = (error, text = "") => kind({ phase: "failed", answer: { error, text } });
  assert.equal(failed({ code: "busy" }), "failed");
  assert.equal(failed({ code: "busy" }, "Well,"), "broken");
  assert.equal(failed({ code: "expired" }), "expired");
  assert.equal(kind({ phase: "stopped" }), "stopped");
  assert.equal(kind({ phase: "stopped", plain: true }), "left");
  assert.equal(kind({ phase: "done", answer: {} }), "done");
  assert.equal(kind({ phase: "done", answer: { finishReason: "length" } }), "cut");
  assert.equal(kind({ phase: "done", answer: { finishReason: "content_filter" } }), "filtered");
});

test("Without a connection it is told what happens by itself.", () => {
  assert.equal(kind({ sent: false }, "offline"), "unsent");
  assert.equal(kind({ accepted: false }, "reconnecting"), "unsent");
  assert.equal(kind({ phase: "answering" }, "reconnecting"), "interrupted");
  assert.equal(kind({ stopping: true }, "reconnecting"), "stoppingLater");
  assert.equal(kind({ phase: "fetching" }, "connecting"), "unreached");
  assert.equal(kind({ streamed: false }, "offline"), "whole");
  assert.equal(kind({ phase: "done", answer: {} }, "offline"), "done");
});

test("A long silence is told in words, and how long it is.", () => {
  const words = (more, now) => progress(asked(more), "connected", now).words;
  assert.equal(words({}, 9_999), "Waiting for the first word …");
  assert.equal(words({}, 12_345), "Waiting for the first word … Nothing for 12 s.");
  assert.equal(words({ heardAt: 10_000 }, 12_345), "Waiting for the first word …");
  assert.equal(words({}, 329_999), "Waiting for the first word … Nothing for 5 min.");
  assert.match(words({}, 330_000), /says nothing any more/);
  assert.match(words({ phase: "answering" }, 90_000), /says nothing any more/);
  const thinking = { answer: { attempt: 1, reasoning: "Hm." } };
  assert.equal(words(thinking, 9_999), "Waiting for the first word …");
  assert.equal(words(thinking, 12_345), "Waiting for the first word … Nothing for 12 s.");
  assert.equal(words({ queued: true }, 180_000), "In the queue … Nothing for 3 min.");
  assert.equal(words({ phase: "done", answer: {} }, 180_000), "Done.");
});

test("A folded thought says how long the model thinks, and then how long it has thought.", () => {
  const pace = { ...noPace, thoughtAt: 1_000, thoughtUntil: 13_900, lagMs: 5_000 };
  const said = (kind, more, now) => Object.values(thinkingWords({ pace: { ...pace, ...more } }, kind, now)).join(" ");
  assert.equal(said("thinking", {}, 26_000), "Thinking … 20 s");
  assert.equal(said("answering", {}, 26_000), "Thought for 12 s");
  assert.equal(said("interrupted", {}, 26_000), "Thought for 12 s");
  assert.equal(said("done", { thoughtUntil: 181_000 }), "Thought for 3 min");
  assert.equal(said("done", { thoughtUntil: 1_999 }), "Thought for a moment");
  assert.deepEqual(thinkingWords({ pace: noPace }, "done"), { words: "Thought", time: "" });
});

test("Tokens are told as far as they are known.", () => {
  assert.deepEqual(tokens(null), { total: "", kinds: "" });
  const usage = { inputTokens: 900, outputTokens: 1_334, reasoningTokens: 0 };
  assert.deepEqual(tokens(usage), { total: "2,234", kinds: "900 in, 1,334 out, 0 thought" });
  assert.deepEqual(tokens({ ...usage, inputTokens: null }), {
    total: "1,334 out, 0 thought",
    kinds: "1,334 out, 0 thought",
  });
});

test("An error is told in the server's words, and in ours where it has none.", () => {
  assert.equal(errorWords({ code: "busy", message: "Later." }), "Later.");
  assert.match(errorWords({ code: "expired", message: "x" }), /no longer stored/);
  assert.match(errorWords(null), /did not say/);
});

test("Times and rates are short.", () => {
  assert.deepEqual([seconds(null), seconds(0), seconds(1_234)], ["", "0.00 s", "1.23 s"]);
  assert.deepEqual([span(0), span(119_999), span(120_000)], ["0 s", "119 s", "2 min"]);
  assert.deepEqual([rate(null), rate(0.52), rate(9.94), rate(9.96), rate(49.6)], ["", "0.5/s", "9.9/s", "10/s", "50/s"]);
});

test("A headline is the first line, and no emoji is cut in half.", () => {
  assert.deepEqual(headline("Why?"), { text: "Why?", more: false });
  assert.deepEqual(headline(null), { text: "A shared answer", more: false });
  assert.deepEqual(headline("Why?\nSay."), { text: "Why?", more: true });
  const { text, more } = headline("🙂".repeat(300));
  assert.equal(more, true);
  assert.equal(text, `${"🙂".repeat(180)} …`);
});

test("The list says what an answer was about, when, and how it ended.", () => {
  const noon = new Date(2026, 10, 22, 12, 5).getTime();
  const entry = { topic: "Redis", askedAt: noon, listedAt: null, status: "failed" };
  assert.equal(listedWords(entry, noon, "de"), "Redis · 12:05 · failed");
  assert.equal(listedWords({ ...entry, topic: null, status: "done" }, noon, "de"), "12:05");
  assert.equal(moment(noon, noon + 86_400_000, "de"), "22. Nov., 12:05");
  assert.equal(moment(null, noon, "de"), "");
});
