/** One question of the store: what it is now, and how to change it. It may be closed at any time. */

import { ended, isOpen } from "./question.js";
import { questionOf, withQuestion } from "./state.js";

export function oneQuestion(store, id, now) {
  const get = () => questionOf(store.get(), id);
  const is = (check) => get() !== null && check(get());

  /** Replace it by `reducer(question, ...more)`. */
  const change = (reducer, ...more) =>
    store.update((state) => withQuestion(state, id, (question) => reducer(question, ...more)));

  return {
    get,
    is,
    change,
    isOpen: () => is(isOpen),
    end: (status, error = null) => change(ended, status, error, now()),
  };
}
