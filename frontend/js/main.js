/** Wires the page: address, client, connection, session, view. */

import { backendAddress } from "./address.js";
import { loadClient } from "./client.js";
import { createConnection } from "./connection.js";
import { newQuestionId } from "./identifier.js";
import { postQuestion } from "./post.js";
import { createSaved } from "./saved.js";
import { createSession } from "./session.js";
import { initialState, isRunning } from "./state.js";
import { createStore } from "./store.js";
import { createView } from "./view.js";

const TICK_MS = 100;
const page = document.querySelector("main");

function start() {
  let session = null;
  const store = createStore(initialState);
  // The view comes first: the form must never be sent the way forms are without a script.
  const view = createView(page, { ask: (question) => session?.ask(question), stop: () => session?.stop() });
  const render = () => view.render(store.get(), Date.now());

  const address = backendAddress(location.href, document.querySelector("meta[name=backend]")?.content);
  const connection = createConnection(address, {
    change: (state) => session.connectionChanged(state),
    connected: () => session.connected(),
    chunk: (text, meta) => session.chunk(text, meta),
  });
  session = createSession({
    store,
    connection,
    saved: createSaved(sessionStorageOrNone()),
    post: (question, signal) => postQuestion(address, question, signal),
    newId: newQuestionId,
  });

  store.subscribe(oncePerFrame(render));
  setInterval(() => isRunning(store.get()) && render(), TICK_MS);
  session.restore();
  if (store.get().question) view.fill(store.get().question);
  render();
  loadClient().then(connection.open, session.unavailable);
}

/** However many pieces arrive, the page is laid out once a frame. */
function oncePerFrame(render) {
  let due = false;
  return () => {
    if (due) return;
    due = true;
    requestAnimationFrame(() => {
      due = false;
      render();
    });
  };
}

/** Asking for sessionStorage throws where the browser forbids it. */
function sessionStorageOrNone() {
  try {
    return sessionStorage;
  } catch {
    return null;
  }
}

try {
  start();
} catch (error) {
  const box = page.querySelector("[data-error]");
  box.textContent = error.message;
  box.hidden = false;
}
