/**
 * What the page knows, and every way in which that changes: pure functions, state to state.
 *
 * phase: idle, restoring (an answer that had ended before a reload), waiting
 * (no piece yet), answering, and then done, stopped or failed.
 */

import { emptyAnswer, fold, isFinal } from "./answer.js";
import { foldPlain } from "./labels.js";

export const initialState = Object.freeze({
  connection: "connecting", // connected, reconnecting, offline
  phase: "idle",
  question: null, // {questionId, topic, question, streamed}
  accepted: false, // the server is known to have the question
  plain: false, // this server speaks in plain strings
  stopping: false,
  trouble: null, // an error that does not end the answer
  answer: emptyAnswer,
  askedAt: null, // times in ms since the epoch, so that they survive a reload
  firstAt: null,
  endedAt: null,
});

export const isRunning = ({ phase }) => phase === "waiting" || phase === "answering";
export const isOpen = (state) => isRunning(state) || state.phase === "restoring";

export function connectionChanged(state, connection) {
  return connection === state.connection ? state : { ...state, connection };
}

export function asked(state, question, now) {
  return { ...initialState, connection: state.connection, phase: "waiting", question, askedAt: now };
}

/** Back after a reload: the words are gone, the question is not. */
export function restored(state, { question, accepted, askedAt, firstAt, endedAt }) {
  const phase = endedAt === null ? "waiting" : "restoring";
  return { ...initialState, connection: state.connection, phase, question, accepted, askedAt, firstAt, endedAt };
}

/** The server acknowledged that it has the question. */
export function accepted(state) {
  return state.accepted && !state.trouble ? state : { ...state, accepted: true, trouble: null };
}

/** A `chunk` event of our question arrived; without `meta` it comes from a plain server. */
export function chunkArrived(state, text, meta, now) {
  if (!isOpen(state)) return state;
  const answer = meta ? fold(state.answer, text, meta) : foldPlain(state.answer, text);
  if (answer === state.answer) return state;
  return progressed({ ...state, answer, accepted: true, plain: !meta }, now);
}

/** The whole answer arrived at once, by POST. */
export function wholeAnswerArrived(state, text, now) {
  return progressed({ ...state, answer: { ...state.answer, text, status: "done" } }, now);
}

/** The question ends here, on this page at least. */
export function ended(state, status, error, now) {
  return progressed({ ...state, answer: { ...state.answer, status, error } }, now);
}

export function stopping(state) {
  return { ...state, stopping: true, trouble: null };
}

/** Something went wrong that does not end the answer. */
export function troubled(state, error) {
  return { ...state, stopping: false, trouble: error };
}

export function forgotten(state) {
  return { ...initialState, connection: state.connection };
}

function progressed(state, now) {
  const { answer } = state;
  const firstAt = state.firstAt ?? (answer.text ? now : null);
  if (isFinal(answer.status)) {
    const endedAt = state.endedAt ?? now;
    return { ...state, phase: answer.status, firstAt, endedAt, stopping: false, trouble: null };
  }
  if (state.phase === "restoring") return state;
  return { ...state, phase: answer.text ? "answering" : "waiting", firstAt };
}
