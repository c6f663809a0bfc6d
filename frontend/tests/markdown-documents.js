/** Documents for the tests of Markdown: all there is of it, in any order, whole and broken. */

export const marked = await import("marked").catch(() => null);
export const skip = marked ? false : "marked is not installed: run `npm ci` in frontend/";

const FRAGMENTS = [
  ..."\n|\n|\n|\n\n|\n\n|  |    |\t|\r\n|\\|_|**|~~|`|[|](|)|!|> |# |## |- |* |+ |1. |2. |10) |   - |```|~~~|---\n|===\n|***\n".split("|"),
  ...["word ", "**bold** ", "*em* ", "`code` ", "[l](http://a.b) ", "[ref][x] ", "[x] ", "😀", "強調", "&amp;"],
  ...["http://a.b/c ", "a@b.c ", "<br>", "<div>", "</div>\n", "<script>", "<!-- ", " -->", "|", ":--|"],
  ...["[x]: http://x.y\n", '[x]: http://z "t"\n', "```py\n", "- [ ] t\n", "- a\n- b\n- c\n", "> - a\n> ```\n> c\n"],
  ...["| a | b |\n|---|---|\n", "|---|---|\n", "| c | d |\n", "| e | f |\n| g | h |\n", "- x\n  ```\n  c1\n  c2\n", "  ```\n"],
];

/** A generator of numbers below `n` that always gives the same ones for a seed (mulberry32). */
export function createChance(seed) {
  let state = seed;
  return (n) => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) % n;
  };
}

/** A document of up to so many fragments. */
export function randomDocument(chance, most) {
  return Array.from({ length: 1 + chance(most) }, () => FRAGMENTS[chance(FRAGMENTS.length)]).join("");
}

/** The text in pieces of up to so many characters. */
export function cut(text, chance, most) {
  const pieces = [];
  for (let at = 0; at < text.length; at += pieces.at(-1).length) pieces.push(text.slice(at, at + 1 + chance(most)));
  return pieces;
}

/** The document that steps make: blocks with what joins them, and code, `{source}` or `{language, text}`. */
export function documentOf(steps) {
  const blocks = [];
  for (const step of steps) {
    const last = blocks.at(-1);
    if (step.type === "block" && step.joins) last.source += step.source;
    else if (step.type === "block") blocks.push({ source: step.prefix + step.source });
    else if (step.type === "code") blocks.push({ language: step.language, text: "" });
    else if (step.type === "text") last.text += step.text;
    else last.closed = true;
  }
  return blocks.map((block) => ("source" in block ? { source: block.source.replace(/\n+$/, "") } : block));
}
