/** When to paint: at once, as long as that takes no more than a share of the time. */

const SHARE = 0.5; // of the time, so that the page answers to its reader, however slow an answer is to paint
const AT_ONCE_MS = 1; // what comes faster than that is painted together

/** `request()` calls `paint` now or with a frame to come, `flush()` now; `cancel()` takes a request back. */
export function createPainter(paint) {
  let requested = 0;
  let credit = AT_ONCE_MS;
  let counted = performance.now();

  function flush() {
    cancel();
    const began = performance.now();
    paint();
    credit -= performance.now() - began;
  }

  function request() {
    const now = performance.now();
    credit = Math.min(AT_ONCE_MS, credit + (now - counted) * SHARE);
    counted = now;
    if (credit > 0) flush();
    else requested ||= requestAnimationFrame(retry);
  }

  function retry() {
    requested = 0;
    request();
  }

  function cancel() {
    cancelAnimationFrame(requested);
    requested = 0;
  }

  return { request, flush, cancel };
}
