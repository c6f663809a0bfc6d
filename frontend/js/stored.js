/** The form in which a question is stored. Whatever is found there is checked before it is believed. */

const STATUSES = new Set(["running", "done", "stopped", "failed", "expired"]);

/** What is worth remembering of a question. */
export function storedQuestion(question) {
  const { questionId, topic, question: words, streamed, sent, accepted, askedAt, firstAt, endedAt } = question;
  const times = { askedAt, firstAt, endedAt };
  return { questionId, topic, question: words, streamed, sent, accepted, ...times, status: statusOf(question) };
}

function statusOf({ answer }) {
  return answer.error?.code === "expired" ? "expired" : answer.status;
}

/** Read a stored question back; null where it is none. */
export function readQuestion(value) {
  if (typeof value?.questionId !== "string" || !STATUSES.has(value.status)) return null;
  return {
    questionId: value.questionId,
    topic: textOrNull(value.topic),
    question: textOrNull(value.question),
    streamed: value.streamed !== false,
    sent: value.sent !== false,
    accepted: value.accepted === true,
    askedAt: timeOrNull(value.askedAt),
    firstAt: timeOrNull(value.firstAt),
    endedAt: timeOrNull(value.endedAt),
    listedAt: timeOrNull(value.listedAt),
    status: value.status,
  };
}

const textOrNull = (value) => (typeof value === "string" ? value : null);
const timeOrNull = (value) => (Number.isFinite(value) ? value : null);
