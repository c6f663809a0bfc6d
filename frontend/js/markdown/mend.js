/** Shows unfinished Markdown as what it is most likely to become, so that it does not flicker. */

import { openFence } from "./fences.js";
import { mendInline } from "./mend-inline.js";

/** A line that may yet become a list, a rule, a heading, a fence, ... */
const UNDECIDED = /^[\s>*+\-_=#~`|:.)[\]!<\\\d]*$/;
/** A fence whose language is still to come: it would be code within the line until its end. */
const FENCE = /^[\s>]*(?:(?:[-*+]|\d{1,9}[.)])\s+)*(?:`{3,}|~{3,})[^\s`]*$/;
const EARLY_COLUMNS = 50; // a line of more cells is no table before it is certain to be one
const STARTS_BLOCK = /^\s*(?:>|[-*+]\s|\d{1,9}[.)]\s|#{1,6}\s|\|)/;

/**
 * Unfinished blocks, mended at their end: an undecided last line is left out, half a link is its
 * words, and the end of **bold text is supplied. `rows` says that they are rows of a table.
 */
export function mend(source, { rows = false } = {}) {
  const lines = source.split("\n");
  const last = lines.pop();
  const before = source.slice(0, source.length - last.length);
  if (openFence(before)) return UNDECIDED.test(last) ? before : source;
  const table = rows ? null : earlyTable(lines, last);
  if (table) return table;
  if (UNDECIDED.test(last) || FENCE.test(last)) return before;
  const text = lastText([...lines, last]);
  return source.slice(0, source.length - text.length) + mendInline(text);
}

/** A line that starts with a pipe, and is not the second one to do so, is the head of a table: show it as one. */
function earlyTable(lines, last) {
  const delimits = /^[\s|:-]*$/.test(last) && startsWithPipe(lines.at(-1) ?? "");
  const above = delimits ? lines.slice(0, -1) : lines;
  const head = mendInline(delimits ? lines.at(-1) : last);
  if (!/^\s*\|.*[^\s|]/.test(head) || startsWithPipe(above.at(-1) ?? "")) return null;
  const cells = head.replaceAll("\\|", "").trim().replace(/\|$/, "").split("|").length - 1;
  if (cells > EARLY_COLUMNS) return null;
  return [...above, head, `${"|-".repeat(cells)}|`].join("\n");
}

/** The text that stands in the last block, or in the last cell of a table. */
function lastText(lines) {
  let first = lines.length - 1;
  while (first > 0 && !STARTS_BLOCK.test(lines[first]) && lines[first - 1].trim()) first -= 1;
  const text = lines.slice(first).join("\n");
  return startsWithPipe(text) ? text.slice(text.lastIndexOf("|") + 1) : text;
}

const startsWithPipe = (line) => /^\s*\|/.test(line);
