/** Text that grows: appends what is new, and starts afresh for another attempt. */

import { setAttribute } from "./dom.js";

/** `createRenderer(container)` gives `{append(text), end(), dispose()}`. */
export function createText(container, createRenderer) {
  let attempt = 0;
  let chars = 0;
  let ended = false;
  let renderer = null;

  /** Take it off the page; the next `render` shows all of it again. */
  function clear() {
    renderer?.dispose();
    renderer = null;
    container.replaceChildren();
    chars = 0;
    ended = false;
  }

  /** Show `{attempt, text}`; `ending` says that nothing follows. */
  function render(answer, ending) {
    if (answer.attempt !== attempt || answer.text.length < chars) clear();
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
    clear();
    createRenderer = create;
  }

  return { render, clear, useRenderer, dispose: () => renderer?.dispose() };
}
