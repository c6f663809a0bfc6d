/**
 * What is known of one question, and every way in which that changes: pure functions, state to state.
 *
 * phase: fetching (an answer that may have ended long ago), waiting (no word yet),
 * answering, and then done, stopped or failed.
 */

import { emptyAnswer, fold, isFinal } from "./answer.js";
import { foldPlain } from "./labels.js";
import { momentOf, noPace, paced } from "./pace.js";

const blank = Object.freeze({
  questionId: "",
  topic: null, // null: a link does not say what was asked
  question: null,
  streamed: true,
  phase: "waiting",
  sent: false, // the server may have heard it
  accepted: false, // the server is known to have it
  queued: false, // no worker had taken it when the server last said so
  plain: false, // this server speaks in plain strings
  stopping: false,
  trouble: null, // an error that does not end the answer
  answer: emptyAnswer,
  pace: noPace,
  askedAt: null, // times in ms since the epoch, so that they survive a reload
  firstAt: null,
  endedAt: null,
  heardAt: null, // when the server was last asked, or last heard
});

export const isRunning = ({ phase }) => phase === "waiting" || phase === "answering";
export const isOpen = (question) => isRunning(question) || question.phase === "fetching";

/** Asked in this browser; whoever merely follows a link has no say in how the answer ends. */
export const isOwn = ({ askedAt }) => askedAt !== null;

export function asked({ questionId, topic, question, streamed }, now) {
  return { ...blank, questionId, topic, question, streamed, askedAt: now, heardAt: now };
}

/** Back after a reload, while it was being answered: the words are gone, the question is not. */
export function restored({ questionId, topic, question, streamed, sent, accepted, askedAt, firstAt }, now) {
  return { ...blank, questionId, topic, question, streamed, sent, accepted, askedAt, firstAt, heardAt: now };
}

/** An answer to read again, of which nothing but the id has to be known. */
export function fetched({ questionId, topic, question, streamed, accepted, askedAt, firstAt, endedAt }, now) {
  const known = { topic, question, streamed, accepted, askedAt, firstAt, endedAt };
  const given = Object.fromEntries(Object.entries(known).filter(([, value]) => value !== undefined));
  return { ...blank, ...given, questionId, phase: "fetching", sent: true, heardAt: now };
}

/** The request that the server gets next is on its way. */
export function sent(question, now) {
  return { ...question, sent: true, heardAt: now };
}

/** The server acknowledged that it has the question; what was asked, where it tells, is shown. */
export function accepted(question, ack, now) {
  const running = question.phase === "fetching" && !isFinal(ack.status);
  return {
    ...question,
    topic: question.topic ?? textOrNull(ack.topic),
    question: question.question ?? textOrNull(ack.topicQuestion),
    phase: running ? phaseOf(question.answer) : question.phase,
    streamed: question.streamed || running, // it is read as it is written from now on
    queued: ack.status === "queued" && question.answer.attempt === 0,
    accepted: true,
    trouble: null,
    heardAt: now,
  };
}

/** A `chunk` event of this question arrived; without `meta` it comes from a plain server. */
export function chunkArrived(question, text, meta, now) {
  if (!isOpen(question)) return question;
  const answer = meta ? fold(question.answer, text, meta) : foldPlain(question.answer, text);
  if (answer === question.answer) return question;
  const pace = paced(question.pace, question.answer, answer, momentOf(meta?.id) ?? now, now);
  return progressed({ ...question, answer, pace, accepted: true, queued: false, plain: !meta }, now);
}

/** The whole answer arrived at once, by POST. A server that keeps it can show it again. */
export function wholeAnswerArrived(question, text, kept, now) {
  const answer = { ...question.answer, text, status: "done" };
  return progressed({ ...question, answer, accepted: kept }, now);
}

/** The question ends here, on this page at least. */
export function ended(question, status, error, now) {
  return progressed({ ...question, answer: { ...question.answer, status, error } }, now);
}

export function stopping(question) {
  return { ...question, stopping: true, trouble: null };
}

/** Something went wrong that does not end the answer. */
export function troubled(question, error) {
  return { ...question, stopping: false, trouble: error };
}

function progressed(question, now) {
  const { answer } = question;
  const firstAt = question.firstAt ?? (answer.text && isOwn(question) ? now : null);
  const heard = { ...question, firstAt, heardAt: now };
  if (!isFinal(answer.status)) {
    return question.phase === "fetching" ? heard : { ...heard, phase: phaseOf(answer) };
  }
  const endedAt = question.endedAt ?? (isOwn(question) ? now : null);
  return { ...heard, phase: answer.status, endedAt, queued: false, stopping: false, trouble: null };
}

const phaseOf = (answer) => (answer.text ? "answering" : "waiting");
const textOrNull = (value) => (typeof value === "string" ? value : null);
