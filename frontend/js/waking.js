/** Tells when the page comes back: from behind another tab, from sleep, from the browser's cache, to the network. */

const NAP_MS = 10_000; // a tab that was away for less has missed nothing

export function onWaking(wake, { window = globalThis, now = Date.now } = {}) {
  const { document } = window;
  let hiddenAt = null;

  document.addEventListener("visibilitychange", () => {
    if (document.visibilityState === "hidden") hiddenAt = now();
    else if (hiddenAt !== null && now() - hiddenAt >= NAP_MS) wake();
  });
  window.addEventListener("pageshow", ({ persisted }) => persisted && wake());
  window.addEventListener("online", () => wake());
}
