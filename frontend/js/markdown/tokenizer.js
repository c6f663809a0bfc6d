/** marked's tokenizer, mended where an answer of a language model needs it otherwise. */

const NESTING = 20; // quotes and lists within each other: marked and the layout recur once for each

/** A tokenizer for which raw HTML is no structure, and which stops at a depth. */
export function createTokenizer(Tokenizer) {
  return new (class extends Tokenizer {
    #depth = 0;

    /** HTML in an answer is most often meant to be read: as a block it would also hide Markdown. */
    html() {
      return undefined;
    }

    /** What stands in a tag is no Markdown. Nothing more: marked would let text behind <pre> through unescaped. */
    tag(source) {
      const [raw] = (source[0] === "<" && this.rules.inline.tag.exec(source)) || [];
      return raw && { type: "html", raw, text: raw };
    }

    blockquote(source) {
      return this.#nested(() => super.blockquote(source));
    }

    list(source) {
      return this.#nested(() => super.list(source));
    }

    #nested(read) {
      if (this.#depth === NESTING) return undefined;
      this.#depth += 1;
      try {
        return read();
      } finally {
        this.#depth -= 1;
      }
    }
  })();
}
