/** One small store: a value, the functions that replace it, and who wants to know. */

export function createStore(initial) {
  let state = initial;
  const listeners = new Set();

  return {
    get: () => state,

    /** Replace the state by `change(state)`; listeners hear of it only if it is another one. */
    update(change) {
      const before = state;
      state = change(before);
      if (state === before) return;
      for (const listener of listeners) listener(state, before);
    },

    /** Call `listener(state, before)` after each change. */
    subscribe(listener) {
      listeners.add(listener);
    },
  };
}
