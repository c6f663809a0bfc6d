/** Cuts an answer, while it is written, into blocks that are finished and the one that is not. */

import { createCodeReader } from "./code-reader.js";
import { cutAt } from "./cut.js";
import { openFence } from "./fences.js";
import { createIntake } from "./intake.js";
import { mend } from "./mend.js";
import { partsOf } from "./parts.js";
import { languageOf } from "./writer.js";

export const BOUNDS = Object.freeze({
  openChars: 6_000, // the open block is rendered with each piece: past this it is cut in two
  joinedParts: 500, // items or rows of one element: the layout goes over all of them each time
});

const CONTAINERS = new Set(["blockquote", "list"]);
const ENDED_BY_BLANK_LINE = new Set(["blockquote", "def", "heading", "hr", "paragraph", "table"]);

/**
 * `push(piece)` and `end()` give the steps by which the answer has become longer:
 *
 * - `{type: "block", prefix, source, joins}`: Markdown that is finished. The document shows
 *   `prefix + source`; where it `joins`, its items or rows go to the list or table before.
 * - `{type: "code", language}`, `{type: "text", text}`, `{type: "close"}`: a fenced code block.
 *
 * `open()` is the unfinished block as it can be shown, in the shape of the first kind.
 * However an answer is cut into pieces, its steps make the same document.
 */
export function createBlocks(grammar, { openChars, joinedParts } = BOUNDS) {
  const intake = createIntake();
  let tail = ""; // what is in no step yet
  let seen = 0; // so much of it is known to be of one block
  let join = null; // the list or table that goes on: {type, prefix, parts}, parts being their number
  let readCode = null; // within a fenced code block

  function advance(ended) {
    const steps = [];
    while (tail && (readCode ? goOnInCode(steps, ended) : goOn(steps, ended)));
    if (ended && readCode) readOn(steps, "", true);
    return steps;
  }

  function goOnInCode(steps, ended) {
    tail = readOn(steps, tail, ended);
    return !readCode;
  }

  /** Only whole lines are looked at: what a line means may change until its end. */
  function goOn(steps, ended) {
    const full = tail.length > openChars;
    const last = ended && !full;
    const window = tail.slice(0, openChars);
    const whole = last ? window : window.slice(0, window.lastIndexOf("\n") + 1);
    const lines = whole || (full ? window : "");
    if (!full && !last && lines.length === seen) return false;
    seen = lines.length;
    const blocks = locate(lines);
    if (join && blocks[0]?.token.type !== join.type) return separate();
    const blank = blocks.length === 0 ? lines.length : blocks[0].start;
    if (blank) return consume(blank);
    return finish(steps, blocks, last) || begin(steps, blocks[0]) || (full && cut(steps, blocks[0].token, lines));
  }

  /** The blocks in these lines, and where in the tail they stand. */
  function locate(lines) {
    const prefix = join?.prefix ?? "";
    const blocks = [];
    let start = -prefix.length;
    for (const token of grammar.blocks(prefix + lines)) {
      const end = start + token.raw.length;
      if (token.type !== "space") blocks.push({ token, start: Math.max(0, start), end: Math.max(0, end) });
      else if (blocks.length) blocks.at(-1).ended = ENDED_BY_BLANK_LINE.has(blocks.at(-1).token.type);
      start = end;
    }
    return blocks;
  }

  /** Turn the blocks that have ended into steps; returns whether there were any. */
  function finish(steps, blocks, last) {
    let count = last || blocks.at(-1).ended ? blocks.length : blocks.length - 1;
    while (count > 0 && count < blocks.length && mayHaveTitle(blocks[count - 1])) count -= 1;
    for (const { token, start, end } of blocks.slice(0, count)) add(steps, token, tail.slice(start, end));
    return count > 0 && consume(blocks[count]?.start ?? blocks[count - 1].end);
  }

  /** Turn what is certain of an open block into steps; returns whether there was anything. */
  function begin(steps, { token, end }) {
    if (isFenced(token)) return beginCode(steps, token);
    const { prefix, parts } = partsOf(token) ?? { parts: [] };
    if (token.type === "list") parts.pop(); // the last item may go on, a row may not
    if (parts.length === 0) return false;
    addParts(steps, token.type, prefix, parts);
    return consume(token.type === "list" ? parts.join("").length : end);
  }

  function cut(steps, { type }, lines) {
    const source = lines.slice(0, cutAt(lines, type, grammar));
    const fence = CONTAINERS.has(type) ? openFence(source) : null;
    addWhole(steps, source);
    consume(source.length);
    if (fence) enterCode(steps, fence, !source.endsWith("\n"));
    return true;
  }

  function add(steps, token, source) {
    const { prefix, parts } = partsOf(token) ?? { parts: [] };
    if (isFenced(token)) addCode(steps, source);
    else if (parts.length) addParts(steps, token.type, prefix, parts);
    else if (source) addWhole(steps, source);
    join = null;
  }

  function addWhole(steps, source) {
    steps.push({ type: "block", prefix: join?.prefix ?? "", source, joins: join?.parts > 0 });
    join = null;
  }

  function addParts(steps, type, prefix, parts) {
    join ??= { type, prefix, parts: 0 };
    for (let at = 0; at < parts.length; ) {
      const portion = parts.slice(at, at + joinedParts - join.parts);
      steps.push({ type: "block", prefix: join.prefix, source: portion.join(""), joins: join.parts > 0 });
      join.parts = (join.parts + portion.length) % joinedParts;
      at += portion.length;
    }
  }

  function addCode(steps, source) {
    const [line] = source.split("\n", 1);
    enterCode(steps, openFence(line));
    readOn(steps, source.slice(line.length + 1), true);
  }

  function beginCode(steps, { raw }) {
    const lineEnd = raw.indexOf("\n");
    if (lineEnd < 0) return false;
    enterCode(steps, openFence(raw.slice(0, lineEnd)));
    return consume(lineEnd + 1);
  }

  function enterCode(steps, fence, within) {
    steps.push({ type: "code", language: languageOf(fence.info) });
    readCode = createCodeReader(fence, within);
    join = null;
  }

  /** Read on in code; returns what stands behind it. */
  function readOn(steps, source, ended) {
    const { text, rest, closed } = readCode(source, ended);
    if (text) steps.push({ type: "text", text });
    if (closed) {
      steps.push({ type: "close" });
      readCode = null;
    }
    return rest;
  }

  function separate() {
    join = null;
    seen = 0;
    return true;
  }

  function consume(chars) {
    tail = tail.slice(chars);
    seen = 0;
    return true;
  }

  return {
    push(piece) {
      tail += intake(piece);
      return advance(false);
    },

    end() {
      tail += intake("", { ended: true });
      return advance(true);
    },

    open() {
      const source = readCode ? "" : mend(tail, { rows: join?.type === "table" });
      return { type: "block", prefix: join?.prefix ?? "", source, joins: join?.parts > 0 };
    },
  };
}

/** The title of a link definition may stand in the line behind it. */
const mayHaveTitle = ({ token, ended }) => token.type === "def" && !ended;

const isFenced = ({ type, codeBlockStyle }) => type === "code" && codeBlockStyle !== "indented";
