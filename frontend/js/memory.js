/** Keeps the store, what this tab remembers and the list of earlier questions in step. */

import { isOpen } from "./question.js";
import { listed, questionOf } from "./state.js";
import { storedQuestion } from "./stored.js";

const MILESTONES = ["topic", "sent", "accepted", "firstAt", "endedAt", "phase"];

export function createMemory({ store, tab, earlier }) {
  const reread = () => store.update((state) => listed(state, earlier.read()));

  store.subscribe((state, before) => {
    if (state.questions === before.questions) return;
    const beforeOf = ({ questionId }) => questionOf(before, questionId);
    const changed = state.questions.filter((question) => isMilestone(question, beforeOf(question)));
    if (!changed.length && state.questions.length === before.questions.length) return;
    tab.write(state.questions.filter(survivesReload).map(storedQuestion));
    if (changed.filter((question) => list(question, beforeOf(question))).length) reread();
  });

  /** Put a question on the list once the server has it; returns whether the list has changed. */
  function list(question, before) {
    if (!question.accepted || question.plain) return false;
    if (before && !before.accepted) earlier.add(storedQuestion(question));
    else earlier.update(storedQuestion(question));
    return true;
  }

  /** Take a question off the list, which neither closes nor stops it. */
  function forget(questionId) {
    earlier.remove(questionId);
    reread();
  }

  /** Another tab has changed something. */
  function storageChanged(event) {
    if (earlier.concerns(event)) reread();
  }

  reread();
  return { forget, storageChanged };
}

const isMilestone = (question, before) => before === null || MILESTONES.some((key) => question[key] !== before[key]);

/** Only what can be read again or asked again is worth remembering. */
const survivesReload = (question) => !question.plain && (isOpen(question) || question.accepted);
