/** What the benchmark runs in the browser: see page.py. */

import { loadMarkdown } from "/js/markdown/index.js";
import { loadDOMPurify, loadMarked } from "/js/markdown/libraries.js";
import { createPlainRenderer } from "/js/markdown/plain.js";

const [createRenderer, marked] = [await loadMarkdown(), await loadMarked(), await loadDOMPurify()];
const escaped = (text) => text.replace(/[&<]/g, (character) => `&#${character.charCodeAt(0)};`);

const renderers = {
  markdown: createRenderer,
  plain: createPlainRenderer,
  rerendered: naive((output, _, text) => (output.innerHTML = marked.parse(text))),
  reparsed: naive((output, piece) => (output.innerHTML += escaped(piece))),
};

function naive(show) {
  return (output) => {
    let text = "";
    return { append: (piece) => show(output, piece, (text += piece)), end() {}, dispose() {} };
  };
}

const nextFrame = requestAnimationFrame.bind(window);
const frame = () => new Promise(nextFrame);
const scroller = document.querySelector("main");
let renderer = null;
let script = 0; // ms since the last frame, of the renderer and of what it has put off

const timed = (work) => (...values) => {
  const began = performance.now();
  work(...values);
  script += performance.now() - began;
};
window.requestAnimationFrame = (work) => nextFrame(timed(work));
const nextIdle = requestIdleCallback.bind(window);
window.requestIdleCallback = (work, options) => nextIdle(timed(work), options);
const append = timed((piece) => renderer.append(piece));
const end = timed((told) => Promise.resolve(renderer.end()).then(told));

window.bench = {
  start(name) {
    const output = document.createElement("div");
    scroller.replaceChildren(output);
    renderer = renderers[name](output);
  },

  /** Feed pieces, so many calls a frame; resolves to `[gap, script]` of each frame, in ms. */
  async feed(pieces, calls) {
    const frames = [];
    for (let at = 0, last = await frame(); at < pieces.length; at += calls) {
      script = 0;
      pieces.slice(at, at + calls).forEach(append);
      scroller.scrollTop = scroller.scrollHeight;
      const next = await frame();
      frames.push([next - last, script]);
      last = next;
    }
    return frames;
  },

  /** The same until all is done. */
  async end() {
    const frames = [];
    let done = false;
    script = 0;
    end(() => (done = true));
    for (let last = await frame(); !done; script = 0) {
      const next = await frame();
      frames.push([next - last, script]);
      last = next;
    }
    return frames;
  },

  drop() {
    renderer.dispose();
    renderer = null;
    scroller.replaceChildren();
  },
};
