/** The words of one answer: appends what is new, and starts afresh for another attempt. */

import { setAttribute } from "./dom.js";

/** `createRenderer(container)` gives `{append(text), end(), dispose()}`. */
export function createText(container, createRenderer) {
  let attempt = 0;
  let chars = 0;
  let ended = false;
  let renderer = null;

  function restart() {
    renderer?.dispose();
    renderer = null;
    container.replaceChildren();
    chars = 0;
    ended = false;
  }

  /** Show an answer; `ending` says that nothing follows. */
  function render(answer, ending) {
    if (answer.attempt !== attempt || answer.text.length < chars) restart();
    attempt = answer.attempt;
    setAttribute(container, "aria-busy", String(!ending));
    if (answer.text.length > chars) {
      renderer ??= createRenderer(container);
      renderer.append(answer.text.slice(chars));
      chars = answer.text.length;
    }
    if (ending && !ended) renderer?.end();
    ended = ending;
  }

  /** Show the same with another renderer. */
  function useRenderer(create) {
    restart();
    createRenderer = create;
  }

  return { render, useRenderer, dispose: () => renderer?.dispose() };
}
