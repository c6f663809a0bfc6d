/** Where a link in an answer may lead. */

export const SAFE_ADDRESS = /^(?:https?:\/\/|mailto:)/i;

/** The address, where it is one of the web or of mail, else null: no javascript:, data:, file: or path. */
export function safeAddress(href) {
  const address = (href ?? "").trim();
  return SAFE_ADDRESS.test(address) && !/[\0-\x1f]/.test(address) ? address : null;
}
