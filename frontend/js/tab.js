/**
 * What survives a reload of this tab: its questions and their times, never the words of an
 * answer, and what was typed and not asked yet.
 */

import { readQuestion } from "./stored.js";

/** `scope` keeps apart what was asked of different backends. */
export function createTab(storage, scope) {
  const questionsKey = `tab ${scope}`;
  const draftKey = `draft ${scope}`;

  function read(key) {
    try {
      return JSON.parse(storage.getItem(key));
    } catch {
      return null; // storage forbidden, or not ours
    }
  }

  function write(key, value) {
    try {
      storage.setItem(key, JSON.stringify(value));
    } catch {
      // Storage is forbidden or full: the page works, a reload starts empty.
    }
  }

  return {
    read() {
      const values = read(questionsKey);
      return Array.isArray(values) ? values.map(readQuestion).filter(Boolean) : [];
    },

    write: (questions) => write(questionsKey, questions),

    /** The form as it was left: `{topic, question, streamed}`, or null. */
    readDraft() {
      const draft = read(draftKey);
      return typeof draft?.topic === "string" && typeof draft.question === "string" ? draft : null;
    },

    writeDraft: (draft) => write(draftKey, draft),
  };
}
