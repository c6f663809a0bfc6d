/** Lines and characters: what arrives, and fences. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { createCodeReader } from "../js/markdown/code-reader.js";
import { openFence } from "../js/markdown/fences.js";
import { createIntake } from "../js/markdown/intake.js";

test("No character and no line end is cut in two.", () => {
  const intake = createIntake();
  assert.equal(intake("a\ud83d"), "a");
  assert.equal(intake("\ude00\r"), "😀");
  assert.equal(intake("\nb\rc\0"), "\nb\nc\ufffd");
  assert.equal(intake("\ud83d"), "");
  assert.equal(intake("", { ended: true }), "\ud83d");
});

const fences = [
  ["```js\na", "js"],
  ["```\na\n```", null],
  ["```\na\n~~~\n``\n ````x", ""],
  ["````\n```", ""],
  ["~~~ a`b`\nc", " a`b`"],
  ["``` a`b`\nc", null],
  ["- a\n  ```\n  b", ""],
  ["- a\n  ```\n  b\n  ```", null],
  ["> 1. ```py\n>    b", "py"],
  ["> ```\n> b\n> ```\n", null],
  ["a ```", null],
];
for (const [lines, info] of fences) {
  test(`The fence behind ${JSON.stringify(lines)} is ${info === null ? "closed" : "open"}.`, () =>
    assert.equal(openFence(lines)?.info ?? null, info));
}

const code = (fence, source, within) => createCodeReader(openFence(fence), within)(source, true);

test("Code ends with a fence at least as long, and with nothing else.", () => {
  assert.deepEqual(code("```", "a\n``\n```x\n   ````  \nrest"), { text: "a\n``\n```x", rest: "rest", closed: true });
});

test("Code loses the indentation of its fence, and no more.", () => {
  assert.equal(code("  ```", "    a\n b\n\nc\n  ```").text, "  a\nb\n\nc");
});

test("Code in a quote or an item loses what stands in front, and ends with what it stands in.", () => {
  assert.equal(code("> ```", "> a\n> > b\n> ```").text, "a\n> b");
  assert.deepEqual(code("- ```", "  a\n\n  b\nc"), { text: "a\n\nb", rest: "c", closed: true });
});

test("A reading that begins within a line adds the rest of it.", () => {
  assert.equal(code("```", "rest\nmore\n```", true).text, "rest\nmore");
});

test("No line is held back for long.", () => {
  const read = createCodeReader(openFence("```"));
  assert.equal(read("`".repeat(900), false).text, "");
  assert.equal(read("`".repeat(2_000), false).text, "`".repeat(2_000));
});
