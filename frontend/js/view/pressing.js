/** Tells while a button is being pressed: what it stands on must not move, or the press would miss it. */

const LONGEST_MS = 1_000; // whoever presses for longer wants something else
const CLICK_WITHIN_MS = 50; // after its end a touch may take so long to become a click

/** Presses anywhere in `root`; `released()` is called when one is over, and its click has been heard. */
export function createPressing(root, released) {
  let timer = null;

  root.addEventListener("pointerdown", ({ button, target }) => {
    if (button === 0 && target.closest("button, a, summary")) releaseIn(LONGEST_MS);
  });
  for (const name of ["pointerup", "pointercancel"]) {
    window.addEventListener(name, () => isPressed() && releaseIn(CLICK_WITHIN_MS));
  }
  window.addEventListener("click", () => isPressed() && release());

  const isPressed = () => timer !== null;

  function releaseIn(ms) {
    clearTimeout(timer);
    timer = setTimeout(release, ms);
  }

  function release() {
    clearTimeout(timer);
    timer = null;
    released();
  }

  return { isPressed };
}
