/** The page: shows a state, and tells what the person does. Knows no socket. */

import { connectionWords, errorWords } from "../words.js";
import { createAnnouncer } from "./announcer.js";
import { parts, setAttribute, setText, show } from "./dom.js";
import { createEarlier } from "./earlier.js";
import { createFeed } from "./feed.js";
import { createFollowing } from "./following.js";
import { createForm } from "./form.js";
import { createPressing } from "./pressing.js";

const HOOKS = [
  ...["skip", "topic", "earlier-toggle", "earlier", "feed"],
  ...["jump", "trouble", "form", "connection-words", "announcer"],
];

/**
 * Calls `on.ask(question)`, `on.retry(id)` and `on.askAgain(id)`, which return the id of what is
 * asked, if it is; `on.typed(draft)`, `on.stop(id)`, `on.close(id)`, `on.open(id)` and `on.forget(id)`.
 */
export function createPage(root, on) {
  const part = parts(root, ...HOOKS);
  const templates = parts(root, "card", "entry");
  const main = root.querySelector("main");
  const announcer = createAnnouncer(part.announcer);
  const form = createForm(part.form, part.topic, { ...on, ask: (question) => asked(on.ask(question)) });
  const feed = createFeed(part.feed, templates.card, {
    ...on,
    retry: (id) => meet(on.retry(id)),
    askAgain: (id) => meet(asked(on.askAgain(id))),
    edit: form.edit,
    say: announcer.say,
    focusLost: form.focus,
  });
  const following = createFollowing({ content: main, feed: part.feed, jump: part.jump, jumped: feed.focusLast });
  const earlier = createEarlier({
    nav: part.earlier,
    toggle: part.earlierToggle,
    template: templates.entry,
    on: { ...on, open, listShown: (covers) => (main.inert = covers), focusLost: form.focus },
  });
  const pressing = createPressing(root, () => latest && draw(...latest));
  let latest = null; // what is to be seen: the state, and when it was so
  let expected = null; // the question whose card is to get the focus, once it is there
  let sought = null; // and the one that is to be read from its beginning

  part.skip.addEventListener("click", (event) => {
    event.preventDefault(); // the fragment is kept for links to answers
    form.focus();
  });

  /** What was asked comes last: there is the reader taken. */
  function asked(id) {
    if (id) following.goTo("end");
    return id;
  }

  function meet(id) {
    expected = id;
  }

  /** Show a question from its beginning, and read on from there. */
  function open(id) {
    on.open(id);
    expected = sought = id;
    settle(); // it may be on the page already
  }

  function render(...seen) {
    latest = seen;
    if (!pressing.isPressed()) draw(...latest);
  }

  function draw(state, now) {
    setAttribute(root, "data-connection", state.connection);
    root.toggleAttribute("data-empty", state.questions.length === 0);
    setText(part.connectionWords, connectionWords(state.connection));
    show(part.trouble, state.trouble !== null);
    setText(part.trouble, state.trouble ? errorWords(state.trouble) : "");
    feed.render(state, now);
    earlier.render(state, now);
    announcer.notice(state, now);
    settle();
  }

  function settle() {
    const card = feed.elementOf(sought);
    if (card) {
      following.goTo(card);
      sought = null;
    }
    if (feed.focus(expected)) expected = null;
  }

  return { render, open, fill: form.fill, useRenderer: feed.useRenderer };
}
