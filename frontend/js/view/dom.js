/** What every part of the view does with elements. */

/** The elements below `root` that are marked with `data-<name>`, by their names. */
export function parts(root, ...names) {
  return Object.fromEntries(names.map((name) => [camelCase(name), root.querySelector(`[data-${name}]`)]));
}

const camelCase = (name) => name.replace(/-(\w)/g, (_, letter) => letter.toUpperCase());

/** A fresh copy of what a `<template>` holds. */
export const copyOf = (template) => template.content.firstElementChild.cloneNode(true);

/** Touch the document only where something has changed. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function show(element, shown) {
  if (element.hidden === shown) element.hidden = !shown;
}

export function setAttribute(element, name, value) {
  if (element.getAttribute(name) !== value) element.setAttribute(name, value);
}

/** Whether an element can take the focus from the page's point of view. */
export const isShown = (element) => !element.closest("[hidden]");
