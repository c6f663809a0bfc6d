/** Times, rates and questions in the form in which they are shown. Pure. */

/** A length of time to be read while it passes: 12 s, 3 min. */
export const span = (ms) => (ms < 120_000 ? `${Math.floor(ms / 1000)} s` : `${Math.floor(ms / 60_000)} min`);

/** A length of time that was measured, in seconds; nothing where there is none. */
export const seconds = (ms) => (ms === null ? "" : `${(ms / 1000).toFixed(2)} s`);

/** So many a second: two digits that count. */
export const rate = (perSecond) =>
  perSecond === null ? "" : `${perSecond < 9.95 ? perSecond.toFixed(1) : Math.round(perSecond)}/s`;

const counted = new Intl.NumberFormat("en"); // as the page's words and its other numbers

/** The tokens of an answer: all of them, and of which kind they are. What is not known is not told. */
export function tokens(usage) {
  const { inputTokens = null, outputTokens = null, reasoningTokens = null } = usage ?? {};
  const kinds = [
    inputTokens === null ? "" : `${counted.format(inputTokens)} in`,
    outputTokens === null ? "" : `${counted.format(outputTokens)} out`,
    reasoningTokens === null ? "" : `${counted.format(reasoningTokens)} thought`, // some of those that came out
  ].filter(Boolean);
  const all = inputTokens === null || outputTokens === null ? null : counted.format(inputTokens + outputTokens);
  return { total: all ?? kinds.join(", "), kinds: kinds.join(", ") };
}

const HEADLINE_CHARS = 180; // about three lines

const UNKNOWN = "A shared answer"; // the link does not say what was asked, and the server may not either

/** The beginning of a question, to stand above its answer, and whether there is more. */
export function headline(question) {
  if (question === null) return { text: UNKNOWN, more: false };
  const line = question.split("\n", 1)[0].trimEnd();
  const chars = [...line]; // a cut between the halves of an emoji would show
  const short = chars.length > HEADLINE_CHARS ? `${chars.slice(0, HEADLINE_CHARS).join("").trimEnd()} …` : line;
  return { text: short, more: short !== question };
}

const STATUS = {
  running: "not finished",
  done: "",
  stopped: "stopped",
  failed: "failed",
  expired: "no longer stored",
};

/** One line below a question in the list: what it was about, when, and how it ended. */
export function listedWords({ topic, askedAt, listedAt, status }, now, locale) {
  return [topic, moment(askedAt ?? listedAt, now, locale), STATUS[status]].filter(Boolean).join(" · ");
}

/** A time of day, with the date where it is another day. */
export function moment(time, now, locale) {
  if (time === null) return "";
  const isToday = new Date(time).toDateString() === new Date(now).toDateString();
  const date = isToday ? {} : { day: "numeric", month: "short" };
  return new Intl.DateTimeFormat(locale, { ...date, hour: "2-digit", minute: "2-digit" }).format(time);
}
