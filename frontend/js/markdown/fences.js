/** Fenced code blocks, told from their lines alone. */

const OPENING = /^((?:[ \t]|>|[-*+][ \t]|\d{1,9}[.)][ \t])*)(`{3,}|~{3,})(.*)$/;
const FENCE_LINE_CHARS = 1_000; // a longer line ends no block, so that none is held back for long

/**
 * The fence that is open behind these lines, within quotes and lists as well, or null.
 *
 * `before` is what stands in front of its `mark`, `info` what stands behind.
 */
export function openFence(lines) {
  let open = null;
  for (const line of lines.split("\n")) {
    if (!open) open = opened(line);
    else if (closes(open, line)) open = null;
  }
  return open;
}

function opened(line) {
  const [, before, mark, info] = OPENING.exec(line) ?? [];
  if (!mark || (mark[0] === "`" && info.includes("`"))) return null;
  return { before, mark, info, nested: before.length > 3 || /\S/.test(before) };
}

/** The line as it stands in the block: without its indentation, or what its list or quote puts in front. */
export function inside({ before }, line) {
  return line.slice(Math.min(frontChars(before, line), before.length));
}

/** Whether this line ends the block. */
export function closes(fence, line) {
  const run = fenceRun(fence, line);
  return run !== null && run.startsWith(fence.mark);
}

/** Whether it takes more of this unfinished line to tell what it adds to the block. */
export function undecided(fence, line) {
  if (line.trim() === "" && line.length < fence.before.length) return true;
  const run = fenceRun(fence, line);
  return run !== null && (run.startsWith(fence.mark) || fence.mark.startsWith(run));
}

/** Whether this line has left the list or quote that the block stands in. */
export function leaves({ before, nested }, line) {
  return nested && line.trim() !== "" && frontChars(before, line) < before.length;
}

function fenceRun(fence, line) {
  if (line.length > FENCE_LINE_CHARS) return null;
  return /^ {0,3}(`*|~*) *$/.exec(fence.nested ? inside(fence, line) : line)?.[1] ?? null;
}

const frontChars = (before, line) => (before.includes(">") ? /^[\s>]*/ : /^\s*/).exec(line)[0].length;
