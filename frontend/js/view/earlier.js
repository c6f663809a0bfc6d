/** The list of earlier questions: opens one again, or takes it off. */

import { headline, listedWords } from "../format.js";
import { copyOf, parts, setText, show } from "./dom.js";

const WIDE = "(min-width: 68rem)"; // as in earlier.css: from here on the list has a column of its own

/**
 * Calls `on.open(id)` and `on.forget(id)`; `on.linkTo(id)` gives the address of an answer, and
 * `on.listShown(covers)` is told whether the list lies over the answers.
 */
export function createEarlier({ nav, toggle, template, on }) {
  const { list } = parts(nav, "list");
  const items = new Map(); // by id of the question
  let questions = [];

  toggle.addEventListener("click", () => setOpen(!isOpen()));
  for (const element of [nav, toggle]) {
    element.addEventListener("keydown", (event) => event.key === "Escape" && isOpen() && close());
  }
  matchMedia(WIDE).addEventListener("change", () => setOpen(false));

  const isOpen = () => nav.hasAttribute("data-open");

  function setOpen(open) {
    nav.toggleAttribute("data-open", open);
    toggle.setAttribute("aria-expanded", String(open));
    on.listShown(open);
    if (open) nav.querySelector("h2").focus();
  }

  function close() {
    setOpen(false);
    toggle.focus();
  }

  function render(state, now) {
    if (state.earlier === questions) return;
    questions = state.earlier;
    show(nav, questions.length > 0);
    show(toggle, questions.length > 0);
    const wanted = new Set(questions.map(({ questionId }) => questionId));
    for (const id of [...items.keys()].filter((known) => !wanted.has(known))) remove(id);
    questions.forEach((question, index) => place(question, index, now));
    if (questions.length === 0 && isOpen()) setOpen(false);
  }

  function add(id) {
    const item = copyOf(template);
    const part = parts(item, "open", "headline", "about", "remove");
    part.open.href = on.linkTo(id);
    part.open.addEventListener("click", (event) => open(event, id));
    part.remove.addEventListener("click", () => on.forget(id));
    items.set(id, { item, part });
    return items.get(id);
  }

  /** A link, so that it can be opened in another tab, too: only a plain click opens it here. */
  function open(event, id) {
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    if (isOpen()) setOpen(false);
    on.open(id);
  }

  function place(question, index, now) {
    const { item, part } = items.get(question.questionId) ?? add(question.questionId);
    const { text } = headline(question.question);
    setText(part.headline, text);
    setText(part.about, listedWords(question, now));
    part.remove.setAttribute("aria-label", `Remove “${text}” from the list`);
    if (list.children[index] !== item) list.insertBefore(item, list.children[index] ?? null);
  }

  /** The focus goes to the one that takes its place, or out of an empty list. */
  function remove(id) {
    const { item } = items.get(id);
    const hadFocus = item.contains(document.activeElement);
    const neighbour = item.nextElementSibling ?? item.previousElementSibling;
    item.remove();
    items.delete(id);
    if (!hadFocus) return;
    if (neighbour) neighbour.querySelector("[data-remove]").focus();
    else on.focusLost();
  }

  return { render };
}
