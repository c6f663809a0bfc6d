/** The npm packages this needs: what npm installed beside the page, else the CDN's copy of the same version. */

import { loadFromCdn } from "../cdn.js";

// The versions are those of package.json, the hashes those of the installed files; a test compares them.
const MARKED = {
  name: "marked",
  version: "18.2.1",
  module: "lib/marked.esm.js",
  script: "lib/marked.umd.js",
  integrity: "sha384-eGsnYqMR1DwKM8Hap0jzlzZulA9iLneQ1yxDuryiYhQd2xn7qVXF+6yXoP7plj95",
  global: "marked",
};
const DOMPURIFY = {
  name: "dompurify",
  version: "3.4.18",
  module: "dist/purify.es.mjs",
  script: "dist/purify.min.js",
  integrity: "sha384-lkArbWjiZKuE+bzKbj1vOEF7DKYBDNvgwZMCt5OH8bdRB92zpzyNska9Q/XKPHQD",
  global: "DOMPurify",
};
const HIGHLIGHT = {
  name: "@highlightjs/cdn-assets",
  version: "11.12.0",
  module: "es/highlight.min.js",
  script: "highlight.min.js",
  integrity: "sha384-wjfDDhOPPdjtva8vWBhWeVprSpmxisEu5aYT3q1JyACqXpdKpo3PWZTMVq24MBix",
  global: "hljs",
};

export const loadMarked = once(MARKED);
export const loadDOMPurify = once(DOMPURIFY);
export const loadHighlight = once(HIGHLIGHT);

/** A function that resolves to the library, and rejects where neither copy loads; it tries only once. */
function once(library) {
  let loading = null;
  return () => (loading ??= load(library));
}

async function load({ name, version, module, script, integrity, global }) {
  try {
    const loaded = await import(`../../node_modules/${name}/${module}`);
    return loaded.default ?? loaded;
  } catch {
    await loadFromCdn(`${name}@${version}/${script}`, integrity);
    return globalThis[global];
  }
}
