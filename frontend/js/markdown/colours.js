/** Colours code with highlight.js, which is loaded when the first code comes. */

const CODE_CHARS = 20_000; // more of it at once would stop the page for longer than a frame or two
const ENTITIES = { amp: "&", lt: "<", gt: ">", quot: '"', "#x27": "'" };

/**
 * A function that colours a <code> with a `data-language` once there is time; resolves when that is done.
 *
 * Code stays as it is where it is too long, or in a language that highlight.js does not know, or
 * where highlight.js cannot be loaded. Languages are not guessed.
 */
export function createColours(loadHighlight, jobs) {
  return async (code) => {
    const { language } = code.dataset;
    const text = code.textContent;
    if (!language || text.length > CODE_CHARS) return;
    const highlight = await loadHighlight().catch(() => null);
    if (highlight?.getLanguage(language)) await jobs.add(() => code.replaceChildren(coloured(highlight, text, language)));
  };
}

function coloured(highlight, text, language) {
  const fragment = spans(highlight.highlight(text, { language, ignoreIllegals: true }).value);
  return fragment.textContent === text ? fragment : text;
}

/** highlight.js gives HTML of one kind: spans with a class, and escaped text. This makes nothing else of it. */
function spans(html) {
  const fragment = document.createDocumentFragment();
  let inside = fragment;
  for (const [token, name] of html.matchAll(/<span class="([^"]*)">|<\/span>|[^<]+|</g)) {
    if (name !== undefined) inside = inside.appendChild(spanOf(name));
    else if (token === "</span>") inside = inside.parentNode ?? fragment;
    else inside.append(token.replace(/&(amp|lt|gt|quot|#x27);/g, (_, entity) => ENTITIES[entity]));
  }
  return fragment;
}

function spanOf(name) {
  const span = document.createElement("span");
  span.className = name;
  return span;
}
