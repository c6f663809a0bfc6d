/** Scripts from the CDN: only with an integrity hash, and only from the folder of npm's packages. */

const CDN = "https://cdn.jsdelivr.net/npm/";

let policy = null;

/**
 * Load a classic script, `path` being `package@version/file`; rejects where it does not load, or is another one.
 *
 * A script and no import(), which cannot carry an integrity hash in every browser.
 */
export function loadFromCdn(path, integrity) {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = trusted(CDN + path);
    script.integrity = integrity;
    script.crossOrigin = "anonymous";
    script.onload = resolve;
    script.onerror = () => reject(new Error(`${path} could not be loaded from the CDN.`));
    document.head.append(script);
  });
}

/** The page's policy demands that an address is passed by something that checks it. */
function trusted(address) {
  policy ??= globalThis.trustedTypes?.createPolicy("cdn", { createScriptURL: onlyCdn });
  return policy ? policy.createScriptURL(address) : onlyCdn(address);
}

function onlyCdn(address) {
  if (!new URL(address).href.startsWith(CDN)) throw new TypeError("Only the CDN's packages are loaded.");
  return address;
}
