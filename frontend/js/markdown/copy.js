/** The button of a code block that copies it. */

const SHOWN_MS = 2_000;

/** Serve the buttons in `container`, those to come as well; returns a function that stops it. */
export function serveCopying(container) {
  const timers = new Set();

  async function copied({ target }) {
    const figure = target.closest?.("[data-copy]")?.closest("figure");
    if (figure) tell(figure.querySelector("[data-copied]"), await copy(figure.querySelector("code")));
  }

  function tell(status, done) {
    status.textContent = done ? "Copied" : "Selected: press Ctrl+C";
    const timer = setTimeout(() => {
      timers.delete(timer);
      status.textContent = "";
    }, SHOWN_MS);
    timers.add(timer);
  }

  container.addEventListener("click", copied);
  return () => {
    container.removeEventListener("click", copied);
    timers.forEach(clearTimeout);
  };
}

async function copy(element) {
  try {
    await navigator.clipboard.writeText(element.textContent);
    return true;
  } catch {
    return copySelection(element);
  }
}

/** On plain http there is no clipboard: select the code, and copy as the keyboard does. */
function copySelection(element) {
  const selection = getSelection();
  selection.selectAllChildren(element);
  if (!document.execCommand("copy")) return false;
  selection.removeAllRanges();
  return true;
}
