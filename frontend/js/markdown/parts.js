/** The parts of a list or a table, which are finished one by one. */

/**
 * The sources of a token's parts, or null where it has none: the items of a list, the rows of a
 * table. With `prefix`, the head of the table, in front, they are a document of their own.
 */
export function partsOf({ type, raw, items }) {
  if (type === "list") return { prefix: "", parts: items.map((item) => item.raw) };
  if (type !== "table") return null;
  const [prefix] = /^.*\n.*\n?/.exec(raw);
  return { prefix, parts: raw.slice(prefix.length).match(/.+\n?/g) ?? [] };
}
