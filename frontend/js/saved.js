/** What survives a reload of this tab: the question and its times, never its words. */

const KEY = "question";

export function createSaved(storage) {
  return {
    read() {
      try {
        const value = JSON.parse(storage.getItem(KEY));
        return typeof value?.question?.questionId === "string" ? value : null;
      } catch {
        return null; // storage forbidden, or not ours
      }
    },

    write({ question, accepted, askedAt, firstAt, endedAt }) {
      try {
        storage.setItem(KEY, JSON.stringify({ question, accepted, askedAt, firstAt, endedAt }));
      } catch {
        // Storage is forbidden or full: the page works, a reload starts empty.
      }
    },

    clear() {
      try {
        storage.removeItem(KEY);
      } catch {
        // As above.
      }
    },
  };
}
