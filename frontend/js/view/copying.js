/** The clipboard, which browsers offer on https and on localhost alone. */

const TOLD_MS = 2_000; // so long a button says that it has done it

export const canCopy = () => Boolean(globalThis.navigator?.clipboard?.writeText);

/** Let a button copy what `text()` gives; it says for a while how that went, and `copied()` is called. */
export function copyOnClick(button, text, copied) {
  const label = button.textContent;
  let timer = null;

  button.addEventListener("click", async () => {
    const worked = await write(text());
    button.textContent = worked ? "Copied" : "Not copied";
    clearTimeout(timer);
    timer = setTimeout(() => (button.textContent = label), TOLD_MS);
    if (worked) copied();
  });
}

async function write(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return false; // forbidden, by the person or by a policy
  }
}
