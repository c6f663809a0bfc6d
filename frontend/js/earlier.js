/**
 * The list of earlier questions that this browser keeps.
 *
 * Each question has a key of its own, so tabs that write at the same moment never
 * overwrite each other. Storage that is forbidden or full makes the list shorter, no more.
 */

import { readQuestion } from "./stored.js";

export const MAX_LISTED = 50;
export const MAX_LISTED_CHARS = 250_000; // of all entries together; browsers grant some millions

/** `scope` keeps apart what was asked of different backends. */
export function createEarlier(storage, scope, now = Date.now) {
  const prefix = `question ${scope} `;
  const keyOf = (questionId) => prefix + questionId;

  /** The questions, newest first. */
  function read() {
    return withoutFaults(() => arrange(ownKeys().map((key) => parse(storage.getItem(key))).filter(Boolean)).kept, []);
  }

  function ownKeys() {
    const keys = Array.from({ length: storage.length }, (_, index) => storage.key(index));
    return keys.filter((key) => key?.startsWith(prefix));
  }

  function write(question) {
    withoutFaults(() => storage.setItem(keyOf(question.questionId), JSON.stringify(question)));
  }

  /** Put a question on the list, for which the oldest ones may have to go. */
  function add(question) {
    write({ listedAt: now(), ...question });
    withoutFaults(() => {
      const entries = ownKeys().map((key) => parse(storage.getItem(key))).filter(Boolean);
      for (const { questionId } of arrange(entries).beyond) storage.removeItem(keyOf(questionId));
    });
  }

  /** Bring a question up to date, if it still stands on the list: what was removed stays removed. */
  function update(question) {
    const before = withoutFaults(() => parse(storage.getItem(keyOf(question.questionId))), null);
    if (before) write(merge(before, question));
  }

  function remove(questionId) {
    withoutFaults(() => storage.removeItem(keyOf(questionId)));
  }

  /** Whether a `storage` event, which tells of other tabs, is about this list. */
  const concerns = ({ key }) => key === null || key.startsWith(prefix);

  return { read, add, update, remove, concerns };
}

/** Newest first: `kept` are those within the bounds, `beyond` the others. */
export function arrange(questions) {
  const time = ({ askedAt, listedAt }) => askedAt ?? listedAt ?? 0;
  const sorted = [...questions].sort((one, other) => time(other) - time(one));
  let chars = 0;
  const count = sorted.findIndex((question, index) => {
    chars += JSON.stringify(question).length;
    return index >= MAX_LISTED || chars > MAX_LISTED_CHARS;
  });
  return count < 0 ? { kept: sorted, beyond: [] } : { kept: sorted.slice(0, count), beyond: sorted.slice(count) };
}

/** A tab that is behind, or has seen less, takes nothing back. */
export function merge(before, after) {
  const known = Object.entries(after).filter(([, value]) => value !== null && value !== undefined);
  const status = after.status === "running" ? before.status : after.status;
  return { ...before, ...Object.fromEntries(known), status };
}

function parse(text) {
  try {
    return readQuestion(JSON.parse(text));
  } catch {
    return null; // not ours
  }
}

function withoutFaults(action, otherwise) {
  try {
    return action();
  } catch {
    return otherwise;
  }
}
