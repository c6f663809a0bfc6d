/** HTML to nodes: whatever marked made of an answer, only harmless elements come of it. */

import { SAFE_ADDRESS } from "./links.js";

const BLOCKS = ["blockquote", "h3", "h4", "h5", "h6", "li", "ol", "p", "table", "td", "th", "ul"];
const PLAIN_ATTRIBUTES = ["align", "aria-label", "data-language", "data-task", "role", "start", "title"];

/** Exactly what writer.js makes: no style, no form, nothing that loads, no id, no class. */
const CONFIG = {
  ALLOWED_TAGS: [...BLOCKS, "a", "br", "code", "del", "em", "hr", "pre", "span", "strong", "tbody", "thead", "tr", "#text"],
  ALLOWED_ATTR: [...PLAIN_ATTRIBUTES, "href"],
  ADD_URI_SAFE_ATTR: PLAIN_ATTRIBUTES,
  ALLOWED_URI_REGEXP: SAFE_ADDRESS,
  ALLOW_ARIA_ATTR: false,
  ALLOW_DATA_ATTR: false,
  RETURN_DOM_FRAGMENT: true,
};

/** A function from HTML to a DocumentFragment that is safe to show. */
export function createSanitiser(DOMPurify) {
  const inOwnDirection = new Set(BLOCKS.map((name) => name.toUpperCase()));
  DOMPurify.setConfig(CONFIG);
  DOMPurify.addHook("afterSanitizeAttributes", (node) => {
    if (node.nodeName === "A") leadAway(node);
    else if (inOwnDirection.has(node.nodeName)) node.dir = "auto"; // an answer may mix scripts
  });
  return (html) => DOMPurify.sanitize(html) ?? new DocumentFragment(); // null where nothing is left
}

function leadAway(link) {
  link.target = "_blank";
  link.rel = "noopener noreferrer nofollow";
}
