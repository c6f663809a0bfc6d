/** The cards of all questions, in their order. */

import { createPlainRenderer } from "../markdown/plain.js";
import { createCard } from "./card.js";

/** Calls what a card calls, and `on.focusLost()` where the card that had the focus was the last one. */
export function createFeed(container, template, on) {
  const cards = new Map(); // by id of the question
  let createRenderer = createPlainRenderer; // until a better one is loaded

  function render({ questions, connection }, now) {
    const wanted = new Set(questions.map(({ questionId }) => questionId));
    for (const id of [...cards.keys()].filter((known) => !wanted.has(known))) remove(id);
    questions.forEach((question, index) => {
      const card = cards.get(question.questionId) ?? add(question.questionId, index);
      card.render(question, connection, now);
    });
  }

  function add(id, index) {
    const card = createCard(template, { createRenderer, on });
    cards.set(id, card);
    container.insertBefore(card.element, container.children[index] ?? null);
    return card;
  }

  function remove(id) {
    const { element, dispose } = cards.get(id);
    const hadFocus = element.contains(document.activeElement);
    const neighbour = element.nextElementSibling ?? element.previousElementSibling;
    dispose();
    element.remove();
    cards.delete(id);
    if (!hadFocus) return;
    if (neighbour) neighbour.focus({ preventScroll: true });
    else on.focusLost();
  }

  /** Give a card the focus; returns whether there is one. */
  function focus(id) {
    cards.get(id)?.focus();
    return cards.has(id);
  }

  /** The last card gets the focus: reading goes on there. */
  const focusLast = () => container.lastElementChild?.focus({ preventScroll: true });

  const elementOf = (id) => cards.get(id)?.element ?? null;

  /** Show every answer, and those that come, with this renderer. */
  function useRenderer(create) {
    createRenderer = create;
    for (const card of cards.values()) card.useRenderer(create);
  }

  return { render, focus, focusLast, elementOf, useRenderer };
}
