/** Tokens to HTML, all of it made of a few elements. What is raw HTML in the answer stays text. */

import { safeAddress } from "./links.js";

const FIRST_HEADING = 3; // the page itself has the levels above
const LAST_HEADING = 6;

export function createWriter(Renderer) {
  return new (class extends Renderer {
    #inLink = false;

    heading({ tokens, depth }) {
      const level = Math.min(depth - 1 + FIRST_HEADING, LAST_HEADING);
      return `<h${level}>${this.parser.parseInline(tokens)}</h${level}>`;
    }

    paragraph({ tokens }) {
      return `<p>${this.parser.parseInline(tokens)}</p>`;
    }

    hr() {
      return "<hr>";
    }

    blockquote({ tokens }) {
      return `<blockquote>${this.parser.parse(tokens)}</blockquote>`;
    }

    code({ text, lang }) {
      const language = languageOf(lang);
      const attribute = language && ` data-language="${escapeText(language)}"`;
      return `<pre${attribute}><code>${escapeText(text.replace(/\n$/, ""))}</code></pre>`;
    }

    codespan({ text }) {
      return `<code>${escapeText(text)}</code>`;
    }

    /** Only <br> is let through: a cell of a table knows no other way to break a line. */
    html({ text }) {
      return /^<br\s*\/?>$/i.test(text) ? "<br>" : escapeText(text);
    }

    list({ ordered, start, items }) {
      const name = ordered ? "ol" : "ul";
      const from = ordered && start !== 1 ? ` start="${start}"` : "";
      return `<${name}${from}>${items.map((item) => this.listitem(item)).join("")}</${name}>`;
    }

    listitem({ tokens }) {
      return `<li>${this.parser.parse(tokens)}</li>`;
    }

    checkbox({ checked }) {
      const [box, words] = checked ? ["☑", "Done:"] : ["☐", "To do:"];
      return `<span data-task role="img" aria-label="${words}">${box}</span> `;
    }

    table({ header, rows }) {
      const body = rows.length ? `<tbody>${rows.map((row) => this.#row(row)).join("")}</tbody>` : "";
      return `<table><thead>${this.#row(header)}</thead>${body}</table>`;
    }

    #row(cells) {
      return `<tr>${cells.map((cell) => this.tablecell(cell)).join("")}</tr>`;
    }

    tablecell({ header, align, tokens }) {
      const name = header ? "th" : "td";
      return `<${name}${align ? ` align="${align}"` : ""}>${this.parser.parseInline(tokens)}</${name}>`;
    }

    link({ href, title, tokens }) {
      this.#inLink = true;
      const inside = this.parser.parseInline(tokens);
      this.#inLink = false;
      return this.#link(href, title, inside);
    }

    /** An image would tell its server who reads this, so it is not fetched: a link leads to it. */
    image({ href, title, tokens, text }) {
      const words = tokens ? this.parser.parseInline(tokens, this.parser.textRenderer) : text;
      const inside = escapeText(words || "image", { keepEntities: true });
      return this.#inLink ? inside : this.#link(href, title, inside);
    }

    #link(href, title, inside) {
      const address = safeAddress(href);
      if (!address) return inside;
      const hint = title ? ` title="${escapeText(title, { keepEntities: true })}"` : "";
      return `<a href="${escapeText(address, { keepEntities: true })}"${hint}>${inside}</a>`;
    }
  })();
}

/** The language of a code block, as far as what stands behind its fence names one. */
export const languageOf = (info) => /^\w[\w+#.-]{0,39}/.exec((info ?? "").trim())?.[0] ?? "";

const ENTITIES = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };

/** Text that means itself in HTML, in an attribute, too; `keepEntities` leaves &copy; a ©. */
export function escapeText(text, { keepEntities = false } = {}) {
  const special = keepEntities ? /[<>"']|&(?!#?\w+;)/g : /[&<>"']/g;
  return text.replace(special, (character) => ENTITIES[character]);
}
