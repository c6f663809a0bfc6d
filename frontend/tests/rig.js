/** A session on a connection that does as it is told. */

import { createSession } from "../js/session.js";
import { initialState } from "../js/state.js";
import { createStore } from "../js/store.js";

export const LOST = { ok: false, lost: true };
export const OK = { ok: true, status: "running" };
export const refused = (code, retryable) => ({ ok: false, error: { code, message: `${code}!`, retryable } });

/** Whatever is due has been done. */
export const settled = () => new Promise((resolve) => setImmediate(resolve));

/** Acknowledgements are given by `replies`, in turn, else OK; a function is called for its reply. */
export function begin({ replies = [], post = null } = {}) {
  const requests = [];
  const pauses = [];
  const connection = {
    up: false,
    renewed: 0,
    isConnected: () => connection.up,
    renew: () => (connection.renewed += 1),
    request: async (event, payload) => {
      requests.push([event, payload]);
      const reply = replies.length ? replies.shift() : OK;
      return typeof reply === "function" ? reply() : reply;
    },
  };
  const store = createStore(initialState);
  let asked = 0;
  const session = createSession({
    store,
    connection,
    post,
    newId: () => `q${(asked += 1)}`,
    now: () => 1_000,
    pause: async (ms) => void pauses.push(ms),
  });
  const changed = async (up, state) => {
    connection.up = up;
    session.connectionChanged(state);
    await settled();
  };
  return {
    store,
    session,
    connection,
    requests,
    pauses,
    events: () => requests.map(([event]) => event),
    question: (index = 0) => store.get().questions[index],
    connect: () => changed(true, "connected"),
    lose: () => changed(false, "reconnecting"),
    ask: async (question = "Why?", streamed = true) => {
      const id = session.ask({ topic: "Redis", question, streamed });
      await settled();
      return id;
    },
    entry: (number, text, more = {}) =>
      session.chunk(text, { questionId: "q1", id: `5-${number}`, attempt: 1, number, ...more }),
  };
}
