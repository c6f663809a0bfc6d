/** Work that can wait, done piece by piece when the browser has nothing better to do. */

const LATEST_MS = 1_000; // a busy page does it after so long all the same

const whenIdle = (job) =>
  globalThis.requestIdleCallback ? requestIdleCallback(job, { timeout: LATEST_MS }) : setTimeout(job, 1);

/** `add(job)` resolves when it is done, has failed, or `stop()` has been called. */
export function createJobs() {
  let last = Promise.resolve();
  let stopped = false;

  return {
    add(job) {
      last = last
        .then(() => new Promise(whenIdle))
        .then(() => stopped || job())
        .catch(console.error); // what waits behind it is not to be lost with it
      return last;
    },

    stop() {
      stopped = true;
    },
  };
}
