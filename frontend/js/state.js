/** What the page knows: the questions that are open on it, in order, and the connection. Pure. */

import { isOpen } from "./question.js";

/** So many answers stand on the page; beyond that the oldest one that has ended leaves it. */
export const MAX_QUESTIONS = 20;

export const initialState = Object.freeze({
  connection: "connecting", // connected, reconnecting, offline, or unavailable for good
  trouble: null, // an error that is of no one question
  questions: [],
  earlier: [], // the list of earlier questions, as `earlier.js` gives it
});

export const questionOf = (state, id) => state.questions.find(({ questionId }) => questionId === id) ?? null;

/** Replace one question by `change(question)`; nothing happens where it is not on the page. */
export function withQuestion(state, id, change) {
  const before = questionOf(state, id);
  const after = before && change(before);
  if (after === before) return state;
  return { ...state, questions: state.questions.map((question) => (question === before ? after : question)) };
}

/** Whether there is a place for one more: all may be under way. */
export const hasPlace = ({ questions }) => questions.length < MAX_QUESTIONS || !questions.every(isOpen);

/** Put a question at the end. */
export function opened(state, question) {
  const { questions } = state;
  const leaving = questions.length < MAX_QUESTIONS ? null : questions.find((other) => !isOpen(other));
  return { ...state, trouble: null, questions: [...questions.filter((other) => other !== leaving), question] };
}

/** Put a question in the place of another. */
export function replaced(state, id, question) {
  return withQuestion(state, id, () => question);
}

export function closed(state, id) {
  return { ...state, questions: state.questions.filter(({ questionId }) => questionId !== id) };
}

export function connectionChanged(state, connection) {
  return connection === state.connection ? state : { ...state, connection };
}

export function troubled(state, trouble) {
  return { ...state, trouble };
}

export function listed(state, earlier) {
  return { ...state, earlier };
}
