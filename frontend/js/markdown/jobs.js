/** Work that can wait, done piece by piece when the browser has nothing better to do. */

const LATEST_MS = 1_000; // a busy page does it after so long all the same

const whenIdle = (work) =>
  globalThis.requestIdleCallback ? requestIdleCallback(work, { timeout: LATEST_MS }) : setTimeout(work, 1);

/** `add(job)` resolves when it is done, has failed, or `stop()` has been called. */
export function createJobs() {
  let last = Promise.resolve();
  let stopped = false;

  function run(job) {
    try {
      if (!stopped) job();
    } catch (error) {
      console.error(error); // what waits behind it is not to be lost with it
    }
  }

  return {
    add(job) {
      last = last.then(() => new Promise((done) => whenIdle(() => done(run(job)))));
      return last;
    },

    stop() {
      stopped = true;
    },
  };
}
