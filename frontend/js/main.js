/** Wires the page: address, client, connection, session, memory, view. */

import { backendAddress } from "./address.js";
import { loadClient } from "./client.js";
import { createConnection } from "./connection.js";
import { createEarlier } from "./earlier.js";
import { newQuestionId } from "./identifier.js";
import { linkedQuestion, linkTo } from "./link.js";
import { loadMarkdown } from "./markdown/index.js";
import { createMemory } from "./memory.js";
import { postQuestion } from "./post.js";
import { isOpen } from "./question.js";
import { createSession } from "./session.js";
import { connectionChanged, initialState, troubled } from "./state.js";
import { createStore } from "./store.js";
import { createTab } from "./tab.js";
import { createPage } from "./view/page.js";
import { onWaking } from "./waking.js";

const TICK_MS = 1_000; // how long nothing was heard is told in seconds

const store = createStore(initialState);
let session = null;
let memory = null;
let tab = null;

// The view comes first: the form must never be sent the way forms are without a script.
const page = createPage(document.body, {
  ask: (question) => session?.ask(question),
  typed: (draft) => tab?.writeDraft(draft),
  askAgain: (id) => session.askAgain(id),
  retry: (id) => session.retry(id),
  stop: (id) => session.stop(id),
  close,
  open: read,
  forget: (id) => memory.forget(id),
  linkTo: (id) => linkTo(id, location.href),
});

function start() {
  const address = backendAddress(location.href, document.querySelector("meta[name=backend]")?.content);
  const connection = createConnection(address, {
    change: (state) => session.connectionChanged(state),
    chunk: (text, meta) => session.chunk(text, meta),
  });
  session = createSession({
    store,
    connection,
    post: (question, signal) => postQuestion(address, question, signal),
    newId: newQuestionId,
  });
  tab = createTab(storageOrNone("sessionStorage"), address);
  memory = createMemory({ store, tab, earlier: createEarlier(storageOrNone("localStorage"), address) });
  session.restore(tab.read());
  if (tab.readDraft()) page.fill(tab.readDraft());
  openLinked();

  addEventListener("hashchange", openLinked);
  addEventListener("storage", memory.storageChanged);
  onWaking(session.wake);
  loadClient().then(connection.open, session.unavailable);
}

/** Open the answer that the address's fragment names. */
function openLinked() {
  const id = linkedQuestion(location.hash);
  if (id) page.open(id);
}

function read(id) {
  session.read(store.get().earlier.find(({ questionId }) => questionId === id) ?? { questionId: id });
}

/** A card that is closed must not come back with the next reload. */
function close(id) {
  session.close(id);
  if (linkedQuestion(location.hash) === id) history.replaceState(null, "", location.pathname + location.search);
}

/** However many pieces arrive, the page is laid out once a frame. */
function oncePerFrame(action) {
  let due = false;
  return () => {
    if (due) return;
    due = true;
    requestAnimationFrame(() => {
      due = false;
      action();
    });
  };
}

/** Asking for a storage throws where the browser forbids it. */
function storageOrNone(name) {
  try {
    return window[name];
  } catch {
    return null;
  }
}

loadMarkdown().then(page.useRenderer);

const render = () => page.render(store.get(), Date.now());
store.subscribe(oncePerFrame(render));
setInterval(() => store.get().questions.some(isOpen) && render(), TICK_MS);

try {
  start();
} catch (error) {
  store.update((state) => troubled(connectionChanged(state, "unavailable"), error));
}
render();
