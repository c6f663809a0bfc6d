/** Where the backend is. */

const DEFAULT_PORT = 3000;

/**
 * The backend's origin: from `?backend=`, else from `<meta name="backend">`, else
 * port 3000 of the host the page came from.
 *
 * Either may be an http(s) address, or a port of that host. Throws an Error with a
 * readable message where it is neither.
 */
export function backendAddress(page, metaContent = "") {
  const { protocol, hostname, searchParams } = new URL(page);
  const wanted = (searchParams.get("backend") || metaContent || String(DEFAULT_PORT)).trim();
  if (/^\d{1,5}$/.test(wanted)) return parse(`${protocol}//${hostname}:${wanted}`, wanted);
  return parse(wanted, wanted);
}

function parse(address, wanted) {
  const url = tryUrl(address);
  if (!["http:", "https:"].includes(url?.protocol)) {
    throw new Error(`The backend's address has to start with http:// or https://, not “${wanted}”.`);
  }
  return url.origin;
}

function tryUrl(address) {
  try {
    return new URL(address);
  } catch {
    return null; // URL.canParse is too young for browsers of 2022
  }
}
