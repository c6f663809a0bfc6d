/** The state of things in words. */

const CONNECTION = {
  connecting: "Connecting …",
  connected: "Connected",
  reconnecting: "Reconnecting …",
  offline: "Offline, still trying",
};

export const connectionWords = (connection) => CONNECTION[connection];

export function progressWords({ phase, connection, question, accepted, stopping, answer }) {
  const streamed = question?.streamed;
  if (stopping) return connection === "connected" ? "Stopping …" : "Stopping once the server is back …";
  switch (phase) {
    case "restoring":
      return answer.text ? "" : "Fetching the answer …";
    case "waiting":
      if (streamed && connection !== "connected") return "Waiting for the server …";
      if (answer.attempt > 1) return "The answer broke off. Starting again …";
      if (!streamed) return "Waiting for the whole answer …";
      return accepted ? "Waiting for the first words …" : "Sending your question …";
    case "answering":
      return connection === "connected" ? "Answering …" : "Interrupted. Going on once the server is back …";
    case "done":
      return doneWords(answer.finishReason);
    case "stopped":
      return "Stopped.";
    case "failed":
      return answer.text ? "Broken off." : "No answer.";
    default:
      return "Ready when you are.";
  }
}

function doneWords(finishReason) {
  if (finishReason === "length") return "Cut off: the answer reached the model's limit.";
  if (finishReason === "content_filter") return "Cut off by the provider's content filter.";
  return "Done.";
}

/** What to tell about an error `{code, message, retryable}`, whoever sent it. */
export function errorWords(error) {
  if (error?.code === "expired") return "This answer is no longer stored. Please ask again.";
  return error?.message || "Something went wrong, and the server did not say what.";
}

/** A time span in seconds; a dash where it has not begun. */
export function seconds(from, to) {
  return from === null || to === null ? "–" : `${(Math.max(0, to - from) / 1000).toFixed(2)} s`;
}
