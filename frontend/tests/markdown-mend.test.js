/** Unfinished Markdown is shown as what it will most likely be. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { mend } from "../js/markdown/mend.js";
import { createChance, randomDocument } from "./markdown-documents.js";

const cases = [
  ["bold text has its end", "a **bo", "a **bo**"],
  ["so has half of its end", "a **bo*", "a **bo**"],
  ["and what is within", "**a *b `c", "**a *b `c`***"],
  ["what is struck out", "~~a", "~~a~~"],
  ["code, whatever is in it", "`a **b", "`a **b`"],
  ["code in two backticks", "``a`", "``a``"],
  ["a space is not the end of a word", "**a ", "**a**"],
  ["a mark with nothing behind it is left out", "a **", "a "],
  ["a backslash as well", "a\\", "a"],
  ["what is closed stays", "**a** *b* `c` ~~d~~", "**a** *b* `c` ~~d~~"],
  ["an inner end leaves the outer mark open", "***a** b", "***a** b*"],
  ["a product is no emphasis", "so 2*3 and a_b and ~5", "so 2*3 and a_b and ~5"],
  ["half a link is its words", "see [the docs](https://exa", "see the docs"],
  ["half an image, too", "see ![a cat](https://exa", "see a cat"],
  ["words in brackets may become a link", "see [the do", "see the do"],
  ["an index does not", "see a[1", "see a[1"],
  ["a whole link stays", "[a](b) c", "[a](b) c"],
  ["bold words in half a link", "see [**the do", "see **the do**"],
  ["a dash may become a list, or a heading of what is above", "Steps:\n-", "Steps:\n"],
  ["a number may become a list", "Steps:\n1.", "Steps:\n"],
  ["backticks may become a fence", "Code:\n``", "Code:\n"],
  ["and so may a language behind them", "Code:\n```pyt", "Code:\n"],
  ["in an item, too", "1. a\n2. ~~~c++", "1. a\n"],
  ["backticks within a line may not", "a ```py", "a ```py```"],
  ["an item without words", "- a\n- ", "- a\n"],
  ["an item whose words begin", "- a\n- **", "- a\n"],
  ["marks of a finished item do not reach the next", "- a **b\n- c", "- a **b\n- c"],
  ["nor those of a paragraph", "a **b\n\nc", "a **b\n\nc"],
  ["a line that begins with a pipe is the head of a table", "| a | b", "| a | b\n|-|-|"],
  ["with half of its second line as well", "| a | b |\n|--", "| a | b |\n|-|-|"],
  ["also under words", "Table:\n| a", "Table:\n| a\n|-|"],
  ["a cell that is open", "| a | b |\n|--|--|\n| c **d", "| a | b |\n|--|--|\n| c **d**"],
  ["code in an item is as it is", "1. a\n   ```py\n   x **y", "1. a\n   ```py\n   x **y"],
  ["without what may end it", "1. a\n   ```py\n   x\n   ``", "1. a\n   ```py\n   x\n"],
];
for (const [name, source, expected] of cases) {
  test(`Mended: ${name}.`, () => assert.equal(mend(source), expected));
}

test("Rows of a table that goes on are no new table.", () => {
  assert.equal(mend("| c | d", { rows: true }), "| c | d");
});

test("Text without marks is as it is.", () => {
  for (const text of ["", "word", "Two words, 3 < 4.\n\nMore: a/b", "強調 😀"]) assert.equal(mend(text), text);
});

test("Whatever comes, no more is left out than the last line, and little is added.", () => {
  const chance = createChance(5);
  for (let number = 0; number < 3_000; number += 1) {
    const text = randomDocument(chance, 20).replaceAll("\r", "");
    const mended = mend(text);
    const words = (source) => source.match(/word|bold|code/g)?.length ?? 0;
    assert.equal(words(mended), words(text), JSON.stringify(text));
    assert.ok(mended.length <= text.length + 120, JSON.stringify(text));
  }
});

test("Many marks are no marks.", () => {
  const text = "*a _b ".repeat(1_000);
  assert.equal(mend(text), text);
});
