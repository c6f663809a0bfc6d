/** Tells people who listen what happens: each thing once, and never piece by piece. */

import { headline } from "../format.js";
import { questionOf } from "../state.js";
import { errorWords, progress } from "../words.js";

const GATHER_MS = 500; // what is overtaken within this time is not told

const SPOKEN = {
  held: "Waiting for the answer before it.",
  queued: "In the queue.",
  waiting: "Waiting for the first word.",
  thinking: "Thinking.",
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
  const seen = new Map(); // what was noticed last of each question
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
    for (const question of state.questions) noticeQuestion(question, state, now);
    for (const id of [...seen.keys()].filter((known) => !questionOf(state, known))) seen.delete(id);
  }

  function noticeQuestion(question, state, now) {
    const { kind } = progress(question, state.connection, now);
    const before = seen.get(question.questionId);
    const after = question.trouble ? `${kind}, ${question.trouble.code}` : kind;
    seen.set(question.questionId, after);
    if (after === before || isNoNews(before, kind)) return;
    const words = question.trouble ? errorWords(question.trouble) : spoken(question, kind);
    if (words) say(named(words, question, state), question.questionId);
  }

  function noticeConnection(current) {
    if (current === connection) return;
    if (connection !== "connecting" && CONNECTION[current]) say(CONNECTION[current], "connection");
    connection = current;
  }

  return { say, notice };
}

const isFault = (kind) => kind === "failed" || kind === "broken" || kind === "expired";

/**
 * An answer that is read again ends as everybody knows, unless there is none; one that goes
 * on after a lost connection does what was told of the connection.
 */
function isNoNews(before, kind) {
  if (before === "fetching" || before === "unreached") return !isFault(kind);
  return before === "interrupted" && ["queued", "waiting", "thinking", "answering"].includes(kind);
}

function spoken(question, kind) {
  if (isFault(kind)) return errorWords(question.answer.error);
  if (question.phase === "done") return `Done: ${count(question.answer.text)}.`;
  if (question.phase === "stopped") return "Stopped.";
  return SPOKEN[kind] ?? "";
}

/** With several questions on the page, say which one is meant. */
const named = (words, { question }, { questions }) =>
  questions.length > 1 ? `“${headline(question).text}”: ${words}` : words;

function count(text) {
  const words = text.split(/\s+/).filter(Boolean).length;
  return words === 1 ? "1 word" : `${words} words`;
}

function paragraph(words) {
  const element = document.createElement("p");
  element.textContent = words;
  return element;
}
