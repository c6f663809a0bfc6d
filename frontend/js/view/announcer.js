/** Tells people who listen what happens: each thing once, and never piece by piece. */

import { errorWords, progress } from "../words.js";
import { headline } from "../format.js";

const GATHER_MS = 500; // what is overtaken within this time is not told

const SPOKEN = {
  held: "Waiting for the answer before it.",
  queued: "In the queue.",
  waiting: "Waiting for the first word.",
  again: "The answer broke off and starts again.",
  whole: "Waiting for the whole answer.",
  answering: "Answering.",
  silent: "The server says nothing any more.",
};
const CONNECTION = {
  reconnecting: "Connection lost. Reconnecting.",
  offline: "Offline, still trying.",
  unavailable: "", // told by the alert that says why
  connected: "Connected again.",
};

/** Speaks through `element`, a live region. */
export function createAnnouncer(element) {
  const pending = new Map(); // what is to be told, by what it is about
  const kinds = new Map(); // what was seen last of each question
  let connection = "connecting";
  let timer = null;

  function say(words, about = words) {
    pending.set(about, words);
    timer ??= setTimeout(speak, GATHER_MS);
  }

  function speak() {
    timer = null;
    element.replaceChildren(...[...pending.values()].map(paragraph));
    pending.clear();
  }

  /** Say what has changed since the last time. */
  function notice(state, now) {
    noticeConnection(state.connection);
    for (const question of state.questions) {
      const { kind } = progress(question, state.connection, now);
      const before = kinds.get(question.questionId);
      kinds.set(question.questionId, kind);
      if (kind === before) continue;
      const words = isReading(before) && !FAULTS.has(kind) ? "" : spoken(question, kind);
      if (words) say(named(words, question, state), question.questionId);
    }
    for (const id of kinds.keys()) if (!state.questions.some(({ questionId }) => questionId === id)) kinds.delete(id);
  }

  function noticeConnection(current) {
    if (current === connection) return;
    if (connection !== "connecting" && CONNECTION[current]) say(CONNECTION[current], "connection");
    connection = current;
  }

  return { say, notice };
}

const FAULTS = new Set(["failed", "broken", "expired"]);

/** An answer that is read again ends in no news, unless there is none. */
const isReading = (kind) => kind === "fetching" || kind === "unreached";

function spoken(question, kind) {
  if (FAULTS.has(kind)) return errorWords(question.answer.error);
  if (question.phase === "done") return `Done: ${wordCount(question.answer.text)} words.`;
  if (question.phase === "stopped") return "Stopped.";
  return SPOKEN[kind] ?? "";
}

/** With several questions on the page, say which one is meant. */
const named = (words, { question }, { questions }) =>
  questions.length > 1 ? `“${headline(question).text}”: ${words}` : words;

const wordCount = (text) => text.split(/\s+/).filter(Boolean).length;

function paragraph(words) {
  const element = document.createElement("p");
  element.textContent = words;
  return element;
}
