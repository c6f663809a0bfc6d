/** Code blocks: a figure with the name of the language, a button that copies, and the code. */

/** A figure without code in it; `language` may be "". */
export function createFigure(language) {
  const code = create("code", language ? { "data-language": language } : {});
  const name = language ? `Code in ${language}` : "Code";
  return create("figure", { class: "code" }, [
    create("figcaption", {}, [
      create("span", {}, [language]),
      create("span", { role: "status", "data-copied": "" }),
      create("button", { type: "button", "data-copy": "", "aria-label": "Copy code" }, ["Copy"]),
    ]),
    // It scrolls sideways, so the keyboard has to reach it.
    create("pre", { dir: "ltr", tabindex: "0", role: "group", "aria-label": name }, [code]),
  ]);
}

export const codeOf = (figure) => figure.querySelector("code");

export function create(name, attributes, children = []) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children);
  return element;
}
