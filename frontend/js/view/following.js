/** Decides which part of the page is in sight while it grows: its end, or what the reader has chosen. */

import { show } from "./dom.js";

const NEAR_END_PX = 64;

/**
 * `content` is what grows, with the answers in `feed`; `jump`, a button, leads back to the
 * end, and then `jumped()` is called.
 */
export function createFollowing({ content, feed, jump, jumped }) {
  const page = document.documentElement;
  let place = "end"; // "end", "free", or the element whose beginning is to be in sight
  let ownY = window.scrollY; // where we, not the reader, have scrolled to
  let unfolded = false; // something has just been, and the page may have grown by it

  const isAtEnd = () => page.scrollHeight - window.scrollY - window.innerHeight <= NEAR_END_PX;

  function settle() {
    if (unfolded && place === "end" && !isAtEnd()) place = "free"; // what was touched must not leave the screen
    unfolded = false;
    if (place !== "free" && !isMarking()) {
      if (place === "end") window.scrollTo({ top: page.scrollHeight, behavior: "instant" });
      else place.scrollIntoView({ block: "start", behavior: "instant" });
      ownY = window.scrollY;
    }
    show(jump, !isAtEnd());
  }

  /** Words that are being marked must not move away under the pointer; those in the form do not. */
  function isMarking() {
    const selection = getSelection();
    return selection?.type === "Range" && feed.contains(selection.anchorNode);
  }

  // Who scrolls down to the end follows it; who scrolls elsewhere stays there.
  window.addEventListener("scroll", () => {
    if (window.scrollY === ownY) return;
    if (isAtEnd()) place = "end";
    else if (place !== "end" || window.scrollY < ownY) place = "free";
    ownY = window.scrollY;
    show(jump, !isAtEnd());
  });
  feed.addEventListener("toggle", unfold, { capture: true }); // it does not bubble
  // After layout and before painting: nobody sees the page out of place.
  new ResizeObserver(settle).observe(content);
  window.addEventListener("resize", settle);

  function unfold({ target }) {
    unfolded = target.open;
    setTimeout(settle); // once it is filled, and before anything else grows
  }

  jump.addEventListener("click", () => {
    if (isMarking()) getSelection().removeAllRanges();
    goTo("end");
    jumped();
  });

  /** Go to the end of the page, or to the beginning of an element, and stay there while it grows. */
  function goTo(target) {
    place = target;
    settle();
  }

  return { goTo };
}
