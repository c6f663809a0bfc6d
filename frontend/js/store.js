/** One small store: a value, the functions that replace it, and who wants to know. */

export function createStore(initial) {
  let state = initial;
  const listeners = new Set();
  const untold = []; // changes that listeners have not heard of
  let telling = false;

  /** One change after the other: a listener that changes the state itself does not overtake another one. */
  function tell() {
    if (telling) return;
    telling = true;
    try {
      while (untold.length) {
        const [after, before] = untold.shift();
        for (const listener of listeners) listener(after, before);
      }
    } finally {
      telling = false;
    }
  }

  return {
    get: () => state,

    /** Replace the state by `change(state)`; listeners hear of it only if it is another one. */
    update(change) {
      const before = state;
      state = change(before);
      if (state === before) return;
      untold.push([state, before]);
      tell();
    },

    /** Call `listener(state, before)` after each change, in the order of the changes. */
    subscribe(listener) {
      listeners.add(listener);
    },
  };
}
