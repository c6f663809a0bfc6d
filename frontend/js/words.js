/** The state of things in words. Pure. */

import { span } from "./format.js";
import { thinkingTime } from "./pace.js";
import { isOpen } from "./question.js";

const SLOW_MS = 10_000; // after so much silence its length is told
// Longer than a model may be silent, by default: something is wrong. It may think before its first word.
const SILENT_MS = 90_000;
const SILENT_THINKING_MS = 330_000;

const CONNECTION = {
  connecting: "Connecting …",
  connected: "Connected",
  reconnecting: "Reconnecting …",
  offline: "Offline, still trying",
  unavailable: "No connection",
};

const PROGRESS = {
  unreached: "Waiting for the server …",
  unsent: "Waiting for the server. Your question goes out by itself.",
  interrupted: "Interrupted. It goes on by itself once the server is back.",
  stoppingLater: "Stopping once the server is back …",
  stopping: "Stopping …",
  held: "Waiting for the answer before it: this server tells one at a time.",
  sending: "Sending your question …",
  fetching: "Fetching the answer …",
  queued: "In the queue …",
  waiting: "Waiting for the first word …",
  thinking: "Waiting for the first word …", // that it thinks stands above, with what it thinks
  again: "The answer broke off. Starting again …",
  whole: "Waiting for the whole answer …",
  answering: "Answering …",
  silent: "The server says nothing any more. You can wait on, or stop and ask again.",
  done: "Done.",
  cut: "Cut off: the answer reached the model's limit.",
  filtered: "Cut off by the provider's content filter.",
  stopped: "Stopped.",
  left: "Stopped reading. This server cannot be told to stop.",
  broken: "Broken off.",
  failed: "No answer.",
  expired: "No longer stored.",
};

export const connectionWords = (connection) => CONNECTION[connection];

/** How far a question is: `kind` changes when something happens, `words` also tell how long nothing has. */
export function progress(question, connection, now) {
  const kind = isOpen(question) ? openKind(question, connection, now) : endedKind(question);
  return { kind, words: PROGRESS[kind] + silence(kind, question, now) };
}

function openKind({ phase, streamed, sent, accepted, queued, stopping, answer, heardAt }, connection, now) {
  const posted = !streamed && phase !== "fetching";
  if (!posted && connection !== "connected") {
    if (stopping) return "stoppingLater";
    if (phase === "fetching") return "unreached";
    return sent && accepted ? "interrupted" : "unsent";
  }
  if (stopping) return "stopping";
  if (posted) return "whole";
  if (!sent) return "held";
  if (now - heardAt >= (phase === "waiting" ? SILENT_THINKING_MS : SILENT_MS) && !queued) return "silent";
  if (phase === "fetching" || phase === "answering") return phase;
  if (answer.reasoning) return "thinking";
  if (answer.attempt > 1) return "again";
  if (queued) return "queued";
  return accepted ? "waiting" : "sending";
}

function endedKind({ phase, plain, answer }) {
  if (phase === "failed") {
    if (answer.error?.code === "expired") return "expired";
    return answer.text ? "broken" : "failed";
  }
  if (phase === "stopped") return plain ? "left" : "stopped";
  return { length: "cut", content_filter: "filtered" }[answer.finishReason] ?? "done";
}

const TELLS_SILENCE = new Set(
  ["sending", "fetching", "queued", "waiting", "thinking", "again", "whole", "answering", "stopping"],
);

function silence(kind, { heardAt }, now) {
  const ms = now - heardAt;
  return TELLS_SILENCE.has(kind) && ms >= SLOW_MS ? ` Nothing for ${span(ms)}.` : "";
}

/** What stands on a folded thought: `words`, and `time`, which passes while the model thinks. */
export function thinkingWords({ pace }, kind, now) {
  if (kind === "thinking") return { words: "Thinking …", time: span(thinkingTime(pace, now)) };
  const ms = thinkingTime(pace);
  if (ms === null) return { words: "Thought", time: "" }; // in the middle of the answer
  return { words: "Thought for", time: ms < 1_000 ? "a moment" : span(ms) };
}

/** What to tell about an error `{code, message, retryable}`, whoever sent it. */
export function errorWords(error) {
  if (error?.code === "expired") return "This answer is no longer stored.";
  return error?.message || "Something went wrong, and the server did not say what.";
}
