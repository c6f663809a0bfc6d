/** What the tests of the Markdown renderer run in the browser: see test_markdown.py. */

import { loadMarkdown } from "/js/markdown/index.js";
import { loadDOMPurify } from "/js/markdown/libraries.js";
import { createMarkdownRenderer } from "/js/markdown/renderer.js";

const TAGS = new Set(
  ("A BLOCKQUOTE BR BUTTON CODE DEL DIV EM FIGCAPTION FIGURE H3 H4 H5 H6 HR LI OL P PRE SPAN STRONG " +
    "TABLE TBODY TD TH THEAD TR UL").split(" "),
);
const ATTRIBUTES = new Set(
  ("align aria-label class data-copied data-copy data-language data-task dir href rel role start " +
    "tabindex target title type").split(" "),
);
const EVENTS = "load error click mouseover focus focusin toggle input animationstart transitionend".split(" ");

const createRenderer = await loadMarkdown();
const output = document.querySelector("#output");
let renderer = null;
let look = null;
const disturbed = [];
const UNITS = ":scope > :not(ul, ol, .table), :scope > :is(ul, ol) > li, :scope > .table tr";

/** What hostile answers call: nobody may ever get here. */
const calls = [];
globalThis.ran = (what) => calls.push(what ?? "ran");
globalThis.alert = globalThis.ran;

globalThis.harness = {
  calls,

  start() {
    renderer?.dispose();
    output.replaceChildren();
    renderer = createRenderer(output);
  },

  /** Begin an answer whose blocks cannot be rendered. */
  startFaulty() {
    harness.start();
    const fail = () => {
      throw new Error("made to fail");
    };
    const grammar = { blocks: fail, inline: fail, html: fail };
    renderer = createMarkdownRenderer(output, { grammar, sanitise: fail, loadHighlight: fail });
  },

  append(text) {
    renderer.append(text);
    look?.();
  },

  end: () => renderer.end(),
  dispose: () => renderer.dispose(),
  html: () => output.innerHTML,

  /** The HTML that these pieces make. */
  async render(pieces) {
    harness.start();
    pieces.forEach(harness.append);
    await harness.end();
    return output.innerHTML;
  },

  /** What is wrong with the page once these answers are shown, one after the other. */
  async faultsOf(answers) {
    const faults = [];
    for (const answer of answers) {
      await harness.render(typeof answer === "string" ? [answer] : answer);
      provoke();
      faults.push(...faultsIn(output).map((fault) => [answer, fault]));
    }
    return faults;
  },

  /** The same, of the sanitiser alone, for HTML. */
  async faultsOfSanitised(sources) {
    const DOMPurify = await loadDOMPurify();
    return sources.flatMap((source) => {
      output.replaceChildren(DOMPurify.sanitize(source));
      provoke();
      return faultsIn(output).map((fault) => [source, fault]);
    });
  },

  /** From now on, note what happens to nodes that are finished. */
  watch() {
    const observer = new MutationObserver(() => {});
    observer.observe(output, { subtree: true, childList: true, characterData: true, attributes: true });
    let finished = [];
    look = () => {
      for (const { target, removedNodes } of observer.takeRecords()) {
        const touched = [target, ...removedNodes];
        disturbed.push(...finished.filter((unit) => touched.some((node) => unit.contains(node))).map((unit) => unit.outerHTML));
      }
      // Of the last two units the one may still become the other's.
      finished = [...output.querySelectorAll(UNITS)].slice(0, -2);
    };
  },

  disturbed: () => disturbed,

  /** Show HTML as nobody should. */
  showRaw: (html) => (output.innerHTML = html),
};

/** Do to each element what a reader may do, links aside: where they lead is looked at instead. */
function provoke() {
  for (const element of output.querySelectorAll("*")) {
    for (const type of EVENTS) {
      if (type !== "click" || element.nodeName !== "A") element.dispatchEvent(new Event(type, { cancelable: true }));
    }
  }
}

function faultsIn(root) {
  const faults = calls.splice(0).map((call) => `it ran: ${call}`);
  for (const element of root.querySelectorAll("*")) {
    if (!TAGS.has(element.nodeName)) faults.push(element.outerHTML);
    for (const { name, value } of element.attributes) {
      if (!ATTRIBUTES.has(name)) faults.push(`${element.nodeName} has ${name}`);
      if (name === "class" && !/^(?:code|table|hljs-[\w -]+|language-\w+)$/.test(value)) faults.push(`class ${value}`);
    }
    if (element.nodeName === "A") faults.push(...faultsOfLink(element));
  }
  return faults;
}

function faultsOfLink(link) {
  const away = link.target === "_blank" && link.rel === "noopener noreferrer nofollow";
  const safe = !link.hasAttribute("href") || ["http:", "https:", "mailto:"].includes(link.protocol);
  return away && safe ? [] : [link.outerHTML];
}

document.documentElement.dataset.ready = "";
