/** One question with its answer: shows its state, and tells what the person does with it. */

import { headline, rate, seconds, tokens } from "../format.js";
import { piecesPerSecond, timesOf } from "../pace.js";
import { isOpen, isOwn, isRunning } from "../question.js";
import { errorWords, progress } from "../words.js";
import { canCopy, copyOnClick } from "./copying.js";
import { copyOf, isShown, parts, setAttribute, setText, show } from "./dom.js";
import { createText } from "./text.js";
import { createThinking } from "./thinking.js";

const SHARED = "Link copied. Whoever has it can read this answer.";

/**
 * Calls `on.stop(id)`, `on.retry(id)`, `on.askAgain(id)`, `on.edit(question)`, `on.close(id)`;
 * `on.linkTo(id)` gives the address of the answer; `on.say(words)` gets what is to be heard.
 */
export function createCard(template, { createRenderer, on }) {
  const element = copyOf(template);
  const part = parts(
    element,
    ...["topic", "headline", "more", "question", "thinking", "text", "error", "reason", "retry", "progress"],
    ...["first", "total", "rate", "tokens", "model", "stop", "again", "edit", "copy", "share", "link", "close"],
  );
  const thinking = createThinking(part.thinking);
  const text = createText(part.text, createRenderer);
  let shown = null;

  part.stop.addEventListener("click", () => on.stop(shown.questionId));
  part.retry.addEventListener("click", () => on.retry(shown.questionId));
  part.again.addEventListener("click", () => on.askAgain(shown.questionId));
  part.edit.addEventListener("click", () => on.edit(shown));
  part.close.addEventListener("click", () => on.close(shown.questionId));
  copyOnClick(part.copy, () => shown.answer.text, () => on.say("Answer copied."));
  copyOnClick(part.share, () => on.linkTo(shown.questionId), () => on.say(SHARED));

  function render(question, connection, now) {
    if (question !== shown) renderQuestion(question);
    shown = question;
    const { kind, words } = progress(question, connection, now);
    setAttribute(element, "data-kind", kind);
    setText(part.progress, words);
    thinking.render(question, kind, now);
    renderTimes(question, now);
    renderButtons(question);
  }

  function renderQuestion(question) {
    const ending = !isOpen(question);
    if (question.topic !== shown?.topic || question.question !== shown?.question) renderAsked(question);
    setAttribute(element, "data-phase", question.phase);
    text.render(question.answer, ending);
    const error = question.trouble ?? (question.phase === "failed" ? question.answer.error : null);
    show(part.error, question.trouble !== null || question.phase === "failed");
    setText(part.reason, part.error.hidden ? "" : errorWords(error));
  }

  function renderAsked({ questionId, topic, question }) {
    const { text: line, more } = headline(question);
    part.headline.id = `asked-${questionId}`;
    element.setAttribute("aria-labelledby", part.headline.id);
    part.text.setAttribute("aria-labelledby", part.headline.id);
    for (const control of element.querySelectorAll("button, summary")) {
      control.setAttribute("aria-describedby", part.headline.id);
    }
    setText(part.topic, topic ?? "");
    setText(part.headline, line);
    show(part.more, more);
    setText(part.question, more ? question : "");
    part.link.href = on.linkTo(questionId);
  }

  function renderTimes(question, now) {
    const { first, total } = timesOf(question, now);
    const running = isOpen(question);
    renderTime(part.first, seconds(first));
    renderTime(part.total, running ? "" : seconds(total));
    renderTime(part.rate, rate(piecesPerSecond(question.pace)));
    const { total: all, kinds } = tokens(question.answer.usage);
    renderTime(part.tokens, all);
    setAttribute(part.tokens, "title", kinds);
    renderTime(part.model, question.answer.model ?? "");
  }

  function renderTime(entry, words) {
    show(entry, words !== "");
    setText(entry.lastElementChild, words);
  }

  function renderButtons(question) {
    const focused = element.contains(document.activeElement) ? document.activeElement : null;
    const ended = !isOpen(question);
    const canAsk = ended && question.question !== null;
    const { error } = question.answer;
    const retries = canAsk && question.phase === "failed" && error?.retryable === true;
    const invalid = canAsk && error?.code === "invalid_request"; // the same words would be refused again
    const shareable = question.accepted && !question.plain && question.phase !== "failed";
    show(part.stop, isRunning(question) && isOwn(question));
    setText(part.stop, question.plain ? "Stop reading" : "Stop");
    setAttribute(part.stop, "aria-disabled", String(question.stopping));
    show(part.retry, retries);
    show(part.again, canAsk && !retries && !invalid);
    show(part.edit, invalid);
    show(part.copy, ended && question.answer.text !== "" && canCopy());
    show(part.share, shareable && canCopy());
    show(part.link, shareable && !canCopy());
    if (focused && !isShown(focused)) focus();
  }

  /** Put the focus where reading or acting goes on. */
  function focus() {
    element.focus({ preventScroll: true });
  }

  /** Show the words with another renderer. */
  function useRenderer(create) {
    text.useRenderer(create);
    if (shown) text.render(shown.answer, !isOpen(shown));
  }

  function dispose() {
    thinking.dispose();
    text.dispose();
  }

  return { element, render, focus, useRenderer, dispose };
}
