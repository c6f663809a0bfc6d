/** The form: tells what is asked. */

import { setText } from "./dom.js";

const IME_KEY_CODE = 229; // Safari's word for a key that belongs to an input method

/**
 * Calls `on.ask({topic, question, streamed})`, which returns whether the question was taken,
 * and `on.typed(draft)`, the same unfinished, whenever something in it has changed.
 */
export function createForm(form, shownTopic, on) {
  const { topic, question, whole } = form.elements;

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const words = { topic: topic.value.trim(), question: question.value.trim() };
    if (!words.topic) topic.focus();
    else if (!words.question) question.focus();
    else if (on.ask({ ...words, streamed: !whole.checked })) {
      question.value = "";
      typed();
    }
  });
  form.addEventListener("input", typed);

  question.addEventListener("keydown", (event) => {
    // An Enter that picks a word of an input method belongs to the input method.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing || event.keyCode === IME_KEY_CODE) return;
    event.preventDefault();
    form.requestSubmit();
  });

  function typed() {
    showTopic();
    on.typed({ topic: topic.value, question: question.value, streamed: !whole.checked });
  }

  function showTopic() {
    const words = topic.value.trim() || "anything";
    setText(shownTopic, words);
    document.title = `Curious about ${words}?`;
  }

  /** Put words into the form, as if they had been typed. */
  function edit(draft) {
    fill(draft);
    typed();
    question.focus();
  }

  function fill(draft) {
    topic.value = draft.topic;
    question.value = draft.question;
    whole.checked = draft.streamed === false;
    showTopic();
  }

  // A browser may bring back on its own what was typed before a reload.
  window.addEventListener("pageshow", showTopic);
  showTopic();

  return { fill, edit, focus: () => question.focus() };
}
