/** The growing end of an element: what is settled is never touched again. */

import { patchAfter } from "./patch.js";

/** All that `parent` holds now is settled. */
export function createRegion(parent) {
  let mark = parent.lastChild;

  return {
    /** Make all that is not settled like these nodes. */
    show: (nodes) => patchAfter(parent, mark, nodes),

    /** Settle all there is; returns the nodes that were not settled before. */
    settle() {
      const nodes = [];
      for (let node = mark ? mark.nextSibling : parent.firstChild; node; node = node.nextSibling) nodes.push(node);
      mark = parent.lastChild;
      return nodes;
    },
  };
}
