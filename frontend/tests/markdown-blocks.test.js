/** Cutting an answer into blocks: the same document however it comes, at a cost that stays. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { BOUNDS, createBlocks } from "../js/markdown/blocks.js";
import { createGrammar, newLinks } from "../js/markdown/grammar.js";
import { escapeText } from "../js/markdown/writer.js";
import { createChance, cut, documentOf, marked, randomDocument, skip } from "./markdown-documents.js";

const DOCUMENTS = 300;
const grammar = marked && createGrammar(marked);

function read(pieces, bounds = BOUNDS) {
  const blocks = createBlocks(grammar, bounds);
  const steps = pieces.flatMap((piece) => blocks.push(piece));
  return documentOf([...steps, ...blocks.end()]);
}

const sources = (text, bounds) => read([text], bounds).map(({ source, text }) => source ?? text);

function htmlOf(blocks, links) {
  const html = ({ source, language, text }) => {
    if (source !== undefined) return grammar.html(source, links);
    const attribute = language && ` data-language="${escapeText(language)}"`;
    return `<pre${attribute}><code>${escapeText(text)}</code></pre>`;
  };
  return blocks.map(html).join("");
}

test("A document cut anywhere is the same document.", { skip }, () => {
  const chance = createChance(1);
  for (let number = 0; number < DOCUMENTS; number += 1) {
    const text = randomDocument(chance, 50);
    const whole = read([text]);
    assert.deepEqual(read([...text]), whole, JSON.stringify(text));
    assert.deepEqual(read(cut(text, chance, 12)), whole, JSON.stringify(text));
  }
});

test("It is, too, where blocks are cut in two because they are too long.", { skip }, () => {
  const chance = createChance(2);
  for (let number = 0; number < DOCUMENTS; number += 1) {
    const text = randomDocument(chance, 60);
    const bounds = { openChars: 10 + chance(80), joinedParts: 1 + chance(4) };
    const whole = read([text], bounds);
    assert.deepEqual(read([...text], bounds), whole, JSON.stringify(text));
    assert.deepEqual(read(cut(text, chance, 12), bounds), whole, JSON.stringify(text));
  }
});

test("Block by block it says what marked makes of it as a whole.", { skip }, () => {
  const chance = createChance(3);
  for (let number = 0; number < DOCUMENTS; number += 1) {
    const text = randomDocument(chance, 40);
    const links = newLinks();
    const blocks = read(cut(text, chance, 20));
    htmlOf(blocks, links); // the first time finds the definitions that stand further below
    assert.equal(htmlOf(blocks, links), grammar.html(text.replace(/\r\n/g, "\n"), newLinks()), JSON.stringify(text));
  }
});

test("No character is lost, however blocks are cut.", { skip }, () => {
  const chance = createChance(4);
  const letters = (text) => text.replace(/[^a-z]/g, "");
  for (let number = 0; number < DOCUMENTS; number += 1) {
    const text = Array.from({ length: 60 }, () => ["word ", "- ", "\n", "> ", "\n\n", "**a** "][chance(6)]).join("");
    const found = sources(text, { openChars: 10 + chance(80), joinedParts: 3 });
    assert.equal(letters(found.join("")), letters(text), JSON.stringify(text));
  }
});

test("A block is finished by what follows, an item by the next one, a row by its end.", { skip }, () => {
  const blocks = createBlocks(grammar);
  assert.deepEqual(blocks.push("A paragraph\nthat goes on"), []);
  assert.deepEqual(documentOf(blocks.push(".\n\n")), [{ source: "A paragraph\nthat goes on." }]);
  assert.deepEqual(blocks.push("- one\n"), []);
  assert.deepEqual(documentOf(blocks.push("- two\n")), [{ source: "- one" }]);
  assert.equal(blocks.open().source, "- two\n");
  assert.equal(blocks.open().joins, true);
  assert.equal(blocks.push("\nText\n\n|a|b|\n|-|-|\n").length, 2);
  const [row] = blocks.push("|1|2|\n|x");
  assert.deepEqual([row.prefix, row.source, row.joins], ["|a|b|\n|-|-|\n", "|1|2|\n", false]);
  assert.deepEqual([blocks.open().source, blocks.open().joins], ["|x", true]);
});

test("Code goes on character by character, without the line that may end it.", { skip }, () => {
  const blocks = createBlocks(grammar);
  const texts = (steps) => steps.map(({ type, language, text }) => text ?? language ?? type);
  assert.deepEqual(texts(blocks.push("``")), []);
  assert.deepEqual(texts(blocks.push("`c++ title\n")), ["c++"]);
  assert.deepEqual(texts(blocks.push("a")), ["a"]);
  assert.deepEqual(texts(blocks.push(" b\n\n")), [" b\n"]);
  assert.deepEqual(texts(blocks.push("``")), []);
  assert.deepEqual(texts(blocks.push("x\n```")), ["\n``x"]);
  assert.deepEqual(texts(blocks.push("\nText")), ["close"]);
  assert.equal(blocks.open().source, "Text");
});

test("Code that is never closed ends with the answer.", { skip }, () => {
  assert.deepEqual(read(["~~~\na\n``", "`\nb\n"]), [{ language: "", text: "a\n```\nb", closed: true }]);
});

test("A long paragraph is cut between words, outside of what is marked.", { skip }, () => {
  const text = `${"word ".repeat(30)}**${"bold ".repeat(30).trim()}** end`;
  const [first, ...rest] = sources(text, { openChars: 200, joinedParts: 10 });
  assert.equal(first, "word ".repeat(29));
  assert.equal([first, ...rest].join(""), text);
});

test("Long code within a list stays code, to its end.", { skip }, () => {
  const code = "   line # no heading\n".repeat(20);
  const found = read([`1. one\n   \`\`\`sh\n${code}   \`\`\`\n2. two\n`], { openChars: 100, joinedParts: 10 });
  assert.match(found[0].source, /^1\. one\n {3}```sh\n/);
  assert.equal(found[1].language, "sh");
  assert.match(found[1].text, /^(line # no heading\n?)+$/);
  assert.deepEqual(found.slice(2), [{ source: "2. two" }]);
});

test("A list or table of many parts becomes several, tables with their heads.", { skip }, () => {
  const bounds = { openChars: 1_000, joinedParts: 10 };
  assert.deepEqual(sources("1. a\n".repeat(25), bounds).map((source) => source.split("\n").length), [10, 10, 5]);
  const tables = sources(`|h|\n|-|\n${"|r|\n".repeat(25)}`, bounds);
  assert.deepEqual(tables.map((source) => source.split("\n").length), [12, 12, 7]);
  for (const table of tables) assert.ok(table.startsWith("|h|\n|-|\n"));
});

const ENDLESS = {
  "paragraph": "A sentence with **bold** words. ",
  "letters": "a",
  "list": "- item\n",
  "item": "  a line of an item\n",
  "quote": "> quoted\n",
  "table": "|a|b|\n",
  "code": "    value = 1\n",
  "asterisks": "*",
  "brackets": "[",
  "quotes": "> ",
  "markers": "- 1. ",
  "blank lines": "\n",
  "backticks": "`",
  "definitions": "[a]: http://b\n",
};
for (const [name, unit] of Object.entries(ENDLESS)) {
  test(`What a piece costs does not grow with the answer: ${name} without end.`, { skip }, () => {
    let lexed = 0;
    const counted = (lex) => (source) => {
      lexed += source.length;
      return lex(source);
    };
    const blocks = createBlocks({ blocks: counted(grammar.blocks), inline: counted(grammar.inline) });
    const start = { item: "- an item\n", table: "|h|h|\n|-|-|\n", code: "```\n" }[name] ?? "";
    for (const piece of cut(start + unit.repeat(30_000 / unit.length), () => 79, 80)) {
      lexed = 0;
      blocks.push(piece);
      assert.ok(lexed <= 4 * BOUNDS.openChars, `${lexed} characters for one piece`);
      assert.ok(blocks.open().source.length <= BOUNDS.openChars + 200);
    }
  });
}

test("An answer that comes at once is read in time that its length allows.", { skip }, () => {
  let lexed = 0;
  const counted = (lex) => (source) => {
    lexed += source.length;
    return lex(source);
  };
  const text = "A paragraph of some words.\n\n- one\n- two\n\n```js\nlet a;\n```\n\n".repeat(1_000);
  const blocks = createBlocks({ blocks: counted(grammar.blocks), inline: counted(grammar.inline) });
  blocks.push(text);
  blocks.end();
  assert.ok(lexed <= 10 * text.length, `${lexed / text.length} times its length`);
});

test("Deeply nested quotes and lists are read without an end in themselves.", { skip }, () => {
  for (const unit of ["> ", "- ", "1. ", "> - "]) {
    const html = grammar.html(`${unit.repeat(2_000)}word`, newLinks());
    assert.ok(html.match(/<(?:blockquote|ul|ol)/g)?.length <= 20);
    assert.match(html, /word/);
  }
});
