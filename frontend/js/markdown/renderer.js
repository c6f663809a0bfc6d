/** Renders an answer as Markdown while it is written. */

import { createBlocks } from "./blocks.js";
import { createColours } from "./colours.js";
import { serveCopying } from "./copy.js";
import { furnish } from "./furnish.js";
import { newLinks } from "./grammar.js";
import { createJobs } from "./jobs.js";
import { createPainter } from "./painter.js";
import { createPlainRenderer } from "./plain.js";
import { createSheet } from "./sheet.js";

/**
 * A renderer that fills an empty `container`.
 *
 * `append(text)` takes the next piece, cut anywhere, and shows it: at once, or with one of the next
 * frames where pieces come faster than that. `end()` shows what is left, and resolves when the
 * last code is coloured. `dispose()` is for when the container goes: it ends all that is still
 * due, and the buttons that copy.
 */
export function createMarkdownRenderer(container, { grammar, sanitise, loadHighlight }) {
  const blocks = createBlocks(grammar);
  const links = newLinks();
  const sheet = createSheet(container, toNodes);
  const painter = createPainter(() => (plain ? undefined : tryToPaint()));
  const jobs = createJobs();
  const colour = createColours(loadHighlight, jobs);
  const stopCopying = serveCopying(container);
  const unlinked = []; // finished blocks with brackets: the address of a link may stand further below
  const colouring = [];
  const said = []; // the pieces, all of them
  let unpainted = "";
  let ended = false;
  let plain = null; // what shows the answer instead, after a fault of ours

  container.dataset.format = "markdown";

  function toNodes(source, { open = false } = {}) {
    return furnish(sanitise(grammar.html(source, open ? newLinks(links) : links)));
  }

  /** No fault in here may cost the reader a word. */
  function tryToPaint() {
    try {
      paint();
    } catch (error) {
      console.error(error);
      container.replaceChildren();
      plain = createPlainRenderer(container);
      plain.append(said.join(""));
      if (ended) plain.end();
    }
  }

  function paint() {
    const steps = blocks.push(unpainted);
    unpainted = "";
    if (ended) steps.push(...blocks.end());
    steps.forEach(write);
    sheet.show(blocks.open());
  }

  function write(step) {
    if (step.language) loadHighlight().catch(() => {}); // so that it is there at the end of the block
    const nodes = sheet.write(step);
    if (nodes.length && step.source?.includes("[")) unlinked.push({ step, nodes, known: Object.keys(links).length });
    colourIn(nodes);
  }

  function colourIn(nodes) {
    for (const node of nodes) {
      for (const code of node.querySelectorAll?.("pre > code") ?? []) colouring.push(colour(code));
    }
  }

  function relink({ step, nodes }) {
    sheet.rewrite(nodes, step);
    colourIn(nodes);
  }

  async function finishLater() {
    const known = Object.keys(links).length;
    const stale = unlinked.filter((block) => block.known < known);
    await Promise.all(stale.map((block) => jobs.add(() => relink(block))));
    await Promise.all(colouring);
  }

  return {
    append(text) {
      if (plain) return plain.append(text);
      said.push(text);
      unpainted += text;
      painter.request();
    },

    end() {
      if (plain) return plain.end();
      ended = true;
      painter.flush();
      return finishLater();
    },

    dispose() {
      painter.cancel();
      jobs.stop();
      stopCopying();
    },
  };
}
