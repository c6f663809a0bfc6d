/** Closes what is open at the end of a text: emphasis, code, half a link. */

const MARK = /\\[\s\S]?|`+|\*+|_+|~+|!?\[|\]\(?/g;
const WORD = /[\p{L}\p{N}]/u;
const OPEN_MARKS = 8; // more of them at once are no emphasis

/** The text with its unfinished marks closed, or left out where nothing stands behind them yet. */
export function mendInline(text) {
  const open = []; // {mark, at}, from the outermost to the innermost
  const marks = new RegExp(MARK);
  for (let found; (found = marks.exec(text)) && open.length <= OPEN_MARKS; ) {
    const { 0: mark, index: at } = found;
    if (mark === "\\") return close(text.slice(0, at), open);
    if (mark[0] === "`") {
      const end = endOfCode(text, mark, marks.lastIndex);
      if (end < 0) return close(text.replace(/`+$/, ""), [...open, { mark, at }]);
      marks.lastIndex = end;
    } else if (mark[0] === "]") {
      const start = open.findLastIndex(isBracket);
      if (start < 0) continue;
      const end = mark === "](" ? text.indexOf(")", at) : at;
      if (end < 0) return close(text.slice(0, at), open);
      open.splice(start);
      marks.lastIndex = Math.max(end, marks.lastIndex);
    } else if (mark.endsWith("[")) {
      if (!WORD.test(text[at - 1] ?? "")) open.push({ mark, at });
    } else if (mark[0] !== "\\") {
      readEmphasis(text, mark, at, open);
    }
  }
  return open.length > OPEN_MARKS ? text : close(text, open);
}

function endOfCode(text, mark, from) {
  const run = new RegExp(`(?:^|[^\`])(${mark})(?!\`)`, "g");
  run.lastIndex = from;
  const found = run.exec(text);
  return found ? run.lastIndex : -1;
}

/** Take a run of *, _ or ~ as an end where it can be one, else as a start. */
function readEmphasis(text, mark, at, open) {
  const [before, after] = [text[at - 1] ?? " ", text[at + mark.length] ?? " "];
  let left = mark.length;
  if (before.trim()) {
    for (let start; left && (start = open.findLastIndex((one) => one.mark[0] === mark[0])) >= 0; ) {
      const used = Math.min(left, open[start].mark.length);
      open.splice(start, Infinity, { mark: open[start].mark.slice(used), at: open[start].at });
      if (!open[start].mark) open.pop();
      left -= used;
    }
  }
  const inWord = WORD.test(before) && !mark.startsWith("**");
  const last = at + mark.length === text.length;
  if (left && (last || (after.trim() && !inWord && mark !== "~"))) open.push({ mark: mark.slice(0, left), at: at + mark.length - left });
}

/** End what is open, and leave out a mark with nothing behind it; an open bracket is left out, too. */
function close(text, open) {
  let ends = "";
  for (const { mark, at } of [...open].reverse()) {
    const inside = text.slice(at + mark.length);
    if (isBracket({ mark }) || !inside.trim()) text = text.slice(0, at) + inside;
    else ends += mark;
  }
  return ends ? text.trimEnd() + ends : text;
}

const isBracket = ({ mark }) => mark.endsWith("[");
