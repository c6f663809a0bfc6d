/** Writes the steps of an answer on the page. */

import { codeOf, createFigure } from "./code.js";
import { becomes } from "./patch.js";
import { createRegion } from "./region.js";
import { appendText } from "./text.js";

/**
 * `toNodes(source, {open})` makes the nodes of a block.
 *
 * `write(step)` returns the nodes that a step has finished, of lists and tables their items and
 * rows: they are never touched again, except by `rewrite`. `show(block)` shows what is open.
 */
export function createSheet(container, toNodes) {
  const page = createRegion(container);
  let parts = null; // the list or table that goes on
  let figure = null; // the code block that is open

  /** The nodes that go into the list or table before, and those that come behind it. */
  function nodesOf({ prefix, source, joins }, options) {
    const nodes = source ? toNodes(prefix + source, options) : [];
    const body = joins && bodyOf(nodes[0]);
    return body ? [[...body.childNodes], nodes.slice(1)] : [[], nodes];
  }

  function show(block, options) {
    const [joined, nodes] = nodesOf(block, options);
    parts?.show(joined);
    page.show(nodes);
  }

  const writers = {
    block(block) {
      show(block);
      const joined = parts?.settle() ?? [];
      const nodes = page.settle();
      const body = bodyOf(nodes.at(-1));
      if (nodes.length) parts = body && createRegion(body);
      return [...joined, ...nodes.flatMap(unitsOf)];
    },

    code({ language }) {
      show({ source: "" });
      parts = null;
      figure = createFigure(language);
      page.show([figure]);
      page.settle();
      return [];
    },

    text({ text }) {
      appendText(codeOf(figure), text);
      return [];
    },

    close: () => [figure],
  };

  return {
    show: (block) => show(block, { open: true }),

    write: (step) => writers[step.type](step),

    /** Make finished nodes what their block has become: a link, say, whose address came later. */
    rewrite(nodes, block) {
      const [joined, rest] = nodesOf(block);
      const wanted = [...joined, ...rest.flatMap(unitsOf)];
      if (wanted.length === nodes.length) nodes.forEach((node, index) => becomes(node, wanted[index]));
    },
  };
}

/** Where more items of a list, or rows of a table, go. */
function bodyOf(node) {
  const table = tableIn(node);
  if (table) return table.tBodies[0] ?? table.createTBody();
  return isList(node) ? node : null;
}

/** What a block consists of that is finished for itself: more may come to a list or a table. */
function unitsOf(node) {
  if (isList(node)) return [...node.children];
  return [...(tableIn(node)?.rows ?? [node])];
}

const tableIn = (node) => (node?.className === "table" ? node.firstChild : null);
const isList = (node) => /^[OU]L$/.test(node?.nodeName);
