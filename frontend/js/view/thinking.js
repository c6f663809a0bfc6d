/** What the model thinks, folded away above its answer: written on the page only while it is unfolded. */

import { createPlainRenderer } from "../markdown/plain.js";
import { isOpen } from "../question.js";
import { thinkingWords } from "../words.js";
import { parts, setAttribute, setText, show } from "./dom.js";
import { createText } from "./text.js";

const NEAR_END_PX = 24; // about a line

/** `fold` is a `<details>`; whether it is open is for the person alone to say. */
export function createThinking(fold) {
  const part = parts(fold, "thinking-words", "thinking-time", "thought", "thought-cut");
  const text = createText(part.thought, createPlainRenderer);
  let shown = null; // the question, and whether its model still thinks
  let isThinking = false;

  fold.addEventListener("toggle", () => (fold.open ? write() : text.clear()));

  function render(question, kind, now) {
    const isNews = question !== shown;
    shown = question;
    isThinking = kind === "thinking";
    show(fold, question.answer.reasoning !== "");
    const { words, time } = thinkingWords(question, kind, now);
    setText(part.thinkingWords, words);
    setText(part.thinkingTime, time);
    // Who listens has the focus here, perhaps, and would be told of every second.
    setAttribute(part.thinkingTime, "aria-hidden", String(isThinking));
    if (isNews && fold.open) write();
  }

  function write() {
    const { answer } = shown;
    const follows = isThinking && isAtEnd();
    text.render({ attempt: answer.attempt, text: answer.reasoning }, !isOpen(shown));
    show(part.thoughtCut, answer.reasoningCut);
    if (follows) part.thought.scrollTop = part.thought.scrollHeight;
  }

  /** Who scrolls up reads, and is left in peace. */
  function isAtEnd() {
    const { scrollHeight, scrollTop, clientHeight } = part.thought;
    return scrollHeight - scrollTop - clientHeight <= NEAR_END_PX;
  }

  return { render, dispose: text.dispose };
}
