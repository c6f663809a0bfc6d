/** The state of things in words. Pure. */

import { span } from "./format.js";
import { isOpen } from "./question.js";

const SLOW_MS = 10_000; // after so much silence its length is told
const SILENT_MS = 90_000; // longer than a model is given for its first word, by default: something is wrong

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
  if (now - heardAt >= SILENT_MS && !queued) return "silent";
  if (phase === "fetching" || phase === "answering") return phase;
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

const TELLS_SILENCE = new Set(["sending", "fetching", "queued", "waiting", "again", "whole", "answering", "stopping"]);

function silence(kind, { heardAt }, now) {
  const ms = now - heardAt;
  return TELLS_SILENCE.has(kind) && ms >= SLOW_MS ? ` Nothing for ${span(ms)}.` : "";
}

/** What to tell about an error `{code, message, retryable}`, whoever sent it. */
export function errorWords(error) {
  if (error?.code === "expired") return "This answer is no longer stored.";
  return error?.message || "Something went wrong, and the server did not say what.";
}
