/** The page: shows a state, and tells what the person does. Knows no socket. */

import { isRunning } from "./state.js";
import { connectionWords, errorWords, progressWords, seconds } from "./words.js";

const NODE_CHARS = 2_000; // a text node is laid out as a whole, so a long answer gets several
const NEAR_END_PX = 48;

/** Calls `on.ask({topic, question, streamed})` and `on.stop()`; `render(state, now)` shows a state. */
export function createView(page, on) {
  const find = (name) => page.querySelector(`[data-${name}]`);
  const [form, askButton, stopButton, output] = ["form", "ask", "stop", "answer"].map(find);
  const fields = form.elements;
  let shown = { answerOf: null, attempt: 0, chars: 0 };
  let running = false;

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (running) return;
    const topic = fields.topic.value.trim();
    const question = fields.question.value.trim();
    if (topic && question) on.ask({ topic, question, streamed: !fields.whole.checked });
  });
  stopButton.addEventListener("click", () => on.stop());
  fields.topic.addEventListener("input", showTopic);
  fields.question.addEventListener("keydown", (event) => {
    // An Enter that picks a word of an input method belongs to the input method.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    form.requestSubmit();
  });

  function showTopic() {
    const topic = fields.topic.value.trim() || "anything";
    setText(find("topic"), topic);
    document.title = `Curious about ${topic}?`;
  }

  function render(state, now) {
    const follow = shown.chars > 0 ? isAtEnd() : isRunning(state);
    page.dataset.phase = state.phase;
    page.dataset.connection = state.connection;
    running = isRunning(state);
    setText(find("connection-words"), connectionWords(state.connection));
    setText(find("progress"), progressWords(state));
    renderTimes(state, now);
    renderButtons(state);
    showOrHide(find("asked"), state.question ? `${state.question.topic}: ${state.question.question}` : "");
    showOrHide(find("error"), state.phase === "failed" ? errorWords(state.answer.error) : troubleWords(state));
    renderAnswer(state);
    if (follow && !isAtEnd(0)) output.scrollTop = output.scrollHeight;
  }

  function isAtEnd(tolerance = NEAR_END_PX) {
    return output.scrollHeight - output.scrollTop - output.clientHeight <= tolerance;
  }

  function renderTimes({ question, askedAt, firstAt, endedAt }, now) {
    setText(find("first"), seconds(askedAt, question?.streamed ? firstAt : null));
    setText(find("total"), seconds(askedAt, endedAt ?? (running ? now : null)));
  }

  /** Ask stays where it is and keeps the focus; it only says that it does nothing now. */
  function renderButtons({ plain, stopping }) {
    askButton.setAttribute("aria-disabled", String(running));
    stopButton.setAttribute("aria-disabled", String(stopping));
    const hide = !running || plain;
    if (hide && document.activeElement === stopButton) fields.question.focus({ preventScroll: true });
    stopButton.hidden = hide;
  }

  /** Append what is new; start afresh for another question, or another attempt at this one. */
  function renderAnswer({ question, answer }) {
    const answerOf = question?.questionId ?? null;
    if (answerOf !== shown.answerOf || answer.attempt !== shown.attempt || answer.text.length < shown.chars) {
      output.replaceChildren();
      shown = { answerOf, attempt: answer.attempt, chars: 0 };
    }
    output.setAttribute("aria-busy", String(running));
    if (answer.text.length === shown.chars) return;
    append(answer.text.slice(shown.chars));
    shown.chars = answer.text.length;
  }

  /** Into the last text node, so that letters which join are shaped together. */
  function append(text) {
    const last = output.lastChild;
    const full = last?.length >= NODE_CHARS && /^\s|\s$/.test(last.data.slice(-1) + text[0]);
    if (last && !full) last.appendData(text);
    else output.append(new Text(text));
  }

  function fill({ topic, question }) {
    fields.topic.value = topic;
    fields.question.value = question;
    showTopic();
  }

  showTopic(); // a browser may have kept what was typed before a reload
  return { render, fill };
}

const troubleWords = ({ trouble }) => (trouble ? errorWords(trouble) : "");

/** Touch the document only where something changed: a live region would speak again. */
function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function showOrHide(element, text) {
  setText(element, text);
  element.hidden = !text;
}
