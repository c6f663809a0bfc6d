/** Reads a fenced code block while it is written. */

import { closes, inside, leaves, undecided } from "./fences.js";

/**
 * A function from what is unread to `{text, rest, closed}`: what it adds to the code, what is
 * still unread, and whether the block has ended. No more is held back than a line that may end
 * it. `within` says that the reading begins within a line.
 */
export function createCodeReader(fence, within = false) {
  let begun = false;

  return (source, ended) => {
    let text = "";
    let at = 0;
    while (at < source.length) {
      const end = source.indexOf("\n", at);
      const whole = end >= 0;
      const line = source.slice(at, whole ? end : undefined);
      const next = whole ? end + 1 : source.length;
      if (!within) {
        if (whole || ended ? closes(fence, line) : undecided(fence, line)) {
          return { text, rest: source.slice(whole || ended ? next : at), closed: whole || ended };
        }
        if (leaves(fence, line)) return { text, rest: source.slice(at), closed: true };
      }
      text += within ? line : (begun ? "\n" : "") + inside(fence, line);
      begun = true;
      within = !whole;
      at = next;
    }
    return { text, rest: "", closed: ended };
  };
}
