/** What Markdown means on this page: marked's lexer and parser, within bounds and without raw HTML. */

import { createTokenizer } from "./tokenizer.js";
import { createWriter, escapeText } from "./writer.js";

const DEFINITIONS = 1_000; // link definitions of an answer: each text is searched for all of them

/** A single line end in an answer is meant as one, hence `breaks`. */
const OPTIONS = { gfm: true, breaks: true };

/**
 * What marked makes of Markdown. None of these ever throws: what marked cannot read is text.
 *
 * `blocks(source)` and `inline(text)` are tokens, whose `raw`s add up to the source.
 * `html(source, links)` is HTML that is not sanitised; the source's link definitions go to `links`.
 */
export function createGrammar({ Lexer, Parser, Renderer, Tokenizer }) {
  const options = { ...OPTIONS, tokenizer: createTokenizer(Tokenizer), renderer: createWriter(Renderer) };

  function html(source, links) {
    const lexer = new Lexer(options);
    lexer.tokens.links = Object.keys(links).length < DEFINITIONS ? links : newLinks(links);
    return new Parser(options).parse(lexer.lex(source).map(settled));
  }

  return {
    blocks: (source) => orElse(() => new Lexer(options).blockTokens(source), [{ type: "paragraph", raw: source }]),
    inline: (text) => orElse(() => new Lexer(options).inlineTokens(text), [{ type: "text", raw: text }]),
    html: (source, links) => orElse(() => html(source, links), `<p>${escapeText(source)}</p>`),
  };
}

/** A place for link definitions. Their labels are the model's words, so it has no prototype. */
export const newLinks = (known) => Object.assign(Object.create(null), known);

function orElse(read, otherwise) {
  try {
    return read();
  } catch {
    return otherwise;
  }
}

/**
 * Whether the items of a list are paragraphs depends, in Markdown, on blank lines anywhere in it.
 * Items are shown long before their list ends, so here it does not: the first text of an item is
 * bare, and what follows are paragraphs.
 */
function settled(token) {
  for (const item of token.items ?? []) settleItem(item);
  for (const child of token.tokens ?? []) settled(child);
  return token;
}

function settleItem(item) {
  let first = true;
  for (const token of item.tokens) {
    if (token.type === "text" || token.type === "paragraph") token.type = first ? "text" : "paragraph";
    if (token.type !== "checkbox") first = false;
    settled(token);
  }
}
