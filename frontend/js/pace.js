/**
 * How fast an answer was written, and how long the model thought before: pure.
 *
 * Entries carry Redis's clock in their ids, so that an answer which is read again, or
 * arrives all at once after a lost connection, shows the pace at which it was written.
 */

const FEWEST_PIECES = 5; // fewer say nothing about a pace

export const noPace = Object.freeze({
  pieces: 0,
  startedAt: null, // times in ms, all of one clock: Redis's, or ours with a plain server
  firstAt: null,
  lastAt: null,
  endedAt: null,
  thoughtAt: null, // of the first thought, where it came before any text
  thoughtUntil: null, // of the first text; until there is any, of the last entry
  lagMs: Infinity, // that clock is so much behind ours, at most: what arrives was written before
});

/** The time, in ms, at which Redis gave an entry its id; null where it is no such id. */
export function momentOf(id) {
  const ms = /^(\d+)-\d+$/.exec(id ?? "")?.[1];
  return ms === undefined ? null : Number(ms);
}

/** Take in the entry that made `before` the answer `after`, was written at `at`, and arrived at `now`, by our clock. */
export function paced(pace, before, after, at, now) {
  const lagMs = Math.min(pace.lagMs, now - at);
  if (after.attempt !== before.attempt || pace.startedAt === null) return { ...noPace, startedAt: at, lagMs };
  const heard = after.next > before.next ? thought({ ...pace, lagMs }, before, after, at) : pace;
  if (after.text.length > before.text.length) {
    return { ...heard, pieces: pace.pieces + 1, firstAt: pace.firstAt ?? at, lastAt: at };
  }
  return after.status === before.status ? heard : { ...heard, endedAt: at };
}

function thought(pace, before, after, at) {
  if (pace.firstAt !== null) return pace;
  const isThought = after.reasoning.length > before.reasoning.length;
  const thoughtAt = pace.thoughtAt ?? (isThought ? at : null);
  return thoughtAt === null ? pace : { ...pace, thoughtAt, thoughtUntil: at };
}

/**
 * How long the model thought before its first word, in ms; null where it did not, or it is not known.
 *
 * `now`, by our clock, where it still thinks. Told by entries alone afterwards: whoever reads the
 * answer again is told the same.
 */
export function thinkingTime({ thoughtAt, thoughtUntil, lagMs }, now = null) {
  if (thoughtAt === null) return null;
  return Math.max(0, (now === null ? thoughtUntil : now - lagMs) - thoughtAt);
}

/** Pieces per second, from the first to the last; null where there are too few to say. */
export function piecesPerSecond({ pieces, firstAt, lastAt }) {
  if (pieces < FEWEST_PIECES || lastAt <= firstAt) return null;
  return ((pieces - 1) * 1000) / (lastAt - firstAt);
}

/**
 * How long a question has taken, in ms: `{first, total}`, each null where it is not known.
 *
 * Told as the person who asked has seen it; to others, as the server wrote it.
 */
export function timesOf({ streamed, askedAt, firstAt, endedAt, pace, answer }, now) {
  if (askedAt !== null) {
    const until = endedAt ?? (answer.status === "running" ? now : null);
    return { first: streamed ? span(askedAt, firstAt) : null, total: span(askedAt, until) };
  }
  return { first: span(pace.startedAt, pace.firstAt), total: span(pace.startedAt, pace.endedAt) };
}

const span = (from, to) => (from === null || to === null ? null : Math.max(0, to - from));
