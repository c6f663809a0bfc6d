/** Where a block that has become too long is cut in two. */

import { mendInline } from "./mend-inline.js";

/**
 * The number of characters of `source`, which has no end yet, that become a block of their own.
 *
 * A paragraph is cut between words, outside of links, code and emphasis, and where what
 * follows cannot be taken for the start of another kind of block; anything else behind a line.
 * Where its second half has no such place, it is cut at a space, and without one where it ends.
 */
export function cutAt(source, type, grammar) {
  const half = source.length >> 1;
  const places = [source.lastIndexOf("\n") + 1, source.lastIndexOf(" ") + 1];
  if (type === "paragraph") places.unshift(betweenWords(source, grammar));
  return places.find((place) => place > half) ?? wholeCharacters(source);
}

function betweenWords(source, grammar) {
  let place = 0;
  let start = 0;
  // Mended, it has an end to what is open at its end.
  for (const { type, raw } of grammar.inline(mendInline(source))) {
    if (type === "text") place = lastWordIn(raw, start) || place;
    start += raw.length;
  }
  return place;
}

function lastWordIn(raw, start) {
  const words = [...raw.matchAll(/\s(?=\p{L})/gu)];
  return words.length ? start + words.at(-1).index + 1 : 0;
}

/** Not within a surrogate pair. */
function wholeCharacters(source) {
  const last = source.charCodeAt(source.length - 1);
  return source.length - (last >= 0xd800 && last <= 0xdbff ? 1 : 0);
}
