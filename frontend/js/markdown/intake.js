/** What arrives, made whole: line ends are \n, and no character is cut in two. */

/** A function from the next piece, cut anywhere, to the text that it makes whole. */
export function createIntake() {
  let held = "";

  return (piece, { ended = false } = {}) => {
    const text = held + piece;
    held = ended ? "" : (/[\r\ud800-\udbff]$/.exec(text)?.[0] ?? "");
    return text
      .slice(0, text.length - held.length)
      .replace(/\r\n?/g, "\n")
      .replaceAll("\0", "\ufffd");
  };
}
