/** Loads socket.io-client: what npm installed beside this page, else the CDN's copy of the same version. */

import { loadFromCdn } from "./cdn.js";

const VERSION = "4.8.4"; // the one in package.json; a test compares them
const INTEGRITY = "sha384-fBrXvbDtHoeKWJ/hcA6M+YGueiDW+h45I7V6F2kD1S8bOkrF9rZYPLVkCR6BLR/1";
const INSTALLED = "../node_modules/socket.io-client/dist/socket.io.esm.min.js";
const FROM_CDN = `socket.io-client@${VERSION}/dist/socket.io.min.js`;

/** Resolves to socket.io-client's `io`; rejects with a readable Error where neither copy loads. */
export async function loadClient() {
  try {
    return (await import(INSTALLED)).io;
  } catch {
    return fromCdn();
  }
}

async function fromCdn() {
  try {
    await loadFromCdn(FROM_CDN, INTEGRITY);
    return globalThis.io;
  } catch {
    throw new Error("The Socket.IO client could not be loaded: run “npm ci” in frontend/, or allow the CDN.");
  }
}
