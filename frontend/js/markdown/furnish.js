/** Gives sanitised nodes what they need around them on the page. */

import { codeOf, create, createFigure } from "./code.js";

/** The elements of a sanitised fragment: code in figures, tables in a box that scrolls. */
export function furnish(fragment) {
  for (const pre of fragment.querySelectorAll("pre")) pre.replaceWith(figureOf(pre));
  for (const table of fragment.querySelectorAll("table")) {
    const box = create("div", { class: "table", role: "group", "aria-label": "Table", tabindex: "0" });
    table.replaceWith(box);
    box.append(table);
  }
  return [...fragment.childNodes];
}

function figureOf(pre) {
  const figure = createFigure(pre.dataset.language ?? "");
  codeOf(figure).append(...(pre.querySelector("code") ?? pre).childNodes);
  return figure;
}
