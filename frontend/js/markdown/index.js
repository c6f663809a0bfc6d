/** Answers as Markdown, or as plain text where what that takes cannot be loaded. */

import { createGrammar } from "./grammar.js";
import { loadDOMPurify, loadHighlight, loadMarked } from "./libraries.js";
import { createPlainRenderer } from "./plain.js";
import { createMarkdownRenderer } from "./renderer.js";
import { createSanitiser } from "./sanitise.js";

const PATIENCE_MS = 10_000; // for the libraries: an answer is not to wait for a CDN that does not answer

let loading = null;

/**
 * Resolves, always, to a factory `createRenderer(container)` that gives `{append, end, dispose}`.
 *
 * A renderer fills an empty container with one attempt at an answer; the next one gets another.
 */
export function loadMarkdown() {
  return (loading ??= load());
}

async function load() {
  try {
    const [marked, DOMPurify] = await inTime(Promise.all([loadMarked(), loadDOMPurify()]));
    if (!DOMPurify.isSupported) return createPlainRenderer;
    const parts = { grammar: createGrammar(marked), sanitise: createSanitiser(DOMPurify), loadHighlight };
    return (container) => createMarkdownRenderer(container, parts);
  } catch {
    return createPlainRenderer;
  }
}

function inTime(loaded) {
  const late = new Promise((_, reject) => setTimeout(reject, PATIENCE_MS));
  return Promise.race([loaded, late]);
}
