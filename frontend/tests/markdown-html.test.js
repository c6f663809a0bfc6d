/** Markdown to HTML: a few elements, and everything else is text. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { createGrammar, newLinks } from "../js/markdown/grammar.js";
import { safeAddress } from "../js/markdown/links.js";
import { escapeText, languageOf } from "../js/markdown/writer.js";
import { marked, skip } from "./markdown-documents.js";

const grammar = marked && createGrammar(marked);

const cases = [
  ["headings below those of the page", "# a\n\n####### b\n\n##### c", "<h3>a</h3><p>####### b</p><h6>c</h6>"],
  ["line breaks as they were meant", "a\nb", "<p>a<br>b</p>"],
  ["HTML as text", '<b class="x">a</b>', "<p>&lt;b class=&quot;x&quot;&gt;a&lt;/b&gt;</p>"],
  ["HTML within which is Markdown", "<div>\n**a**\n</div>", "<p>&lt;div&gt;<br><strong>a</strong><br>&lt;/div&gt;</p>"],
  ["text behind raw elements", "<pre> <img x", "<p>&lt;pre&gt; &lt;img x</p>"],
  ["a script that is not closed", "<script>\n\n# a", "<p>&lt;script&gt;</p><h3>a</h3>"],
  ["a line break in a cell", "|a|\n|-|\n|b<br/>c|", "<table><thead><tr><th>a</th></tr></thead><tbody><tr><td>b<br>c</td></tr></tbody></table>"],
  ["alignment as an attribute", "|a|\n|-:|", '<table><thead><tr><th align="right">a</th></tr></thead></table>'],
  ["characters by name", "&copy; &#169; &amp;copy;", "<p>&copy; © &amp;copy;</p>"],
  ["code with its language", "```c++ title\n<\n```", '<pre data-language="c++"><code>&lt;</code></pre>'],
  ["a list that starts later", "3. a\n4. b", '<ol start="3"><li>a</li><li>b</li></ol>'],
  ["tight and loose lists alike", "- a\n\n- b\n\n  c", "<ul><li>a</li><li>b<p>c</p></li></ul>"],
  ["a link with a title", '[a](http://b "c")', '<p><a href="http://b" title="c">a</a></p>'],
  ["an address with characters by name", "[a](http://b?c&amp;d)", '<p><a href="http://b?c&amp;d">a</a></p>'],
  ["a link that leads nowhere", "[a **b**](javascript:c)", "<p>a <strong>b</strong></p>"],
  ["an image as a link", "![a](http://b)", '<p><a href="http://b">a</a></p>'],
  ["an image in a link as its words", "[![a](http://b)](http://c)", '<p><a href="http://c">a</a></p>'],
];
for (const [name, source, expected] of cases) {
  test(`HTML: ${name}.`, { skip }, () => assert.equal(grammar.html(source, newLinks()), expected));
}

test("Definitions are kept for the blocks to come, up to a bound.", { skip }, () => {
  const links = newLinks();
  assert.equal(grammar.html("[a]: http://b\n[__proto__]: http://c", links), "");
  assert.equal(grammar.html("[a] [__proto__]", links).match(/<a /g).length, 2);
  for (let number = 0; number < 2_000; number += 1) grammar.html(`[n${number}]: http://b`, links);
  assert.ok(Object.keys(links).length <= 1_001);
});

test("What marked cannot read is text.", () => {
  const failing = class {
    constructor() {
      throw new RangeError("Maximum call stack size exceeded");
    }
  };
  const classes = { Lexer: failing, Parser: failing, Renderer: class {}, Tokenizer: class {} };
  const broken = createGrammar(classes);
  assert.equal(broken.html("a < b", newLinks()), "<p>a &lt; b</p>");
  assert.deepEqual(broken.blocks("a"), [{ type: "paragraph", raw: "a" }]);
  assert.deepEqual(broken.inline("a"), [{ type: "text", raw: "a" }]);
});

test("Links lead to the web and to mail, and nowhere else.", () => {
  for (const address of ["http://a", "HTTPS://a", " https://a ", "mailto:a@b"]) {
    assert.equal(safeAddress(address), address.trim());
  }
  const others = ["javascript:a", "java\nscript:a", "data:a", "//a", "/a", "a", "#a", "", null, "https:a", "http://a\0"];
  for (const address of others) assert.equal(safeAddress(address), null);
});

test("A language is a name, or none.", () => {
  const names = { python: "python", " C++ x": "C++", "js{1,3}": "js", "": "", '"><b>': "", "{.py}": "" };
  for (const [info, name] of Object.entries(names)) assert.equal(languageOf(info), name);
  assert.equal(languageOf(undefined), "");
  assert.equal(languageOf("x".repeat(1_000)).length, 40);
});

test("Text means itself, in attributes as well.", () => {
  assert.equal(escapeText(`<a b="c" d='e'>&amp;`), "&lt;a b=&quot;c&quot; d=&#39;e&#39;&gt;&amp;amp;");
  assert.equal(escapeText("a & b &amp; &lt;", { keepEntities: true }), "a &amp; b &amp; &lt;");
});
