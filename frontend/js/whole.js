/** The conversation about one question whose answer comes in one go, by POST. */

import { RETRY_MS } from "./insist.js";
import { oneQuestion } from "./one.js";
import * as Question from "./question.js";

const UNHEARD = new Error("nobody knows whether the server heard the question");

/** Has the same verbs as the conversation on the socket. `post(question, signal)` gives the answer. */
export function createWhole(id, { store, connection, server, post, now, pause }) {
  const { get, isOpen, change, end } = oneQuestion(store, id, now);
  let underWay = null; // what cancels the POST

  async function goOn() {
    if (underWay || !isOpen()) return;
    underWay = new AbortController();
    change(Question.sent, now());
    try {
      const text = await insistently(underWay.signal);
      if (isOpen()) change(Question.wholeAnswerArrived, text, server.ours, now());
    } catch (error) {
      if (isOpen() && error !== UNHEARD) end("failed", error);
    } finally {
      underWay = null;
    }
  }

  /** Where asking twice is safe, a lost connection does not matter: the next one goes on. */
  async function insistently(signal) {
    const question = get();
    for (let failures = 0; ; failures += 1) {
      try {
        return await post(question, signal);
      } catch (error) {
        if (error.code !== "unreachable" || failures === RETRY_MS.length) throw error;
        // A page that is being left fails in the same way: it must not take that for an end.
        await pause(RETRY_MS[failures]);
        signal.throwIfAborted();
        if (!server.ours) throw error;
        if (!connection.isConnected()) throw UNHEARD;
      }
    }
  }

  /** Nobody waits for the acknowledgement: a server that knows no stop goes on in vain. */
  function stop() {
    if (!isOpen()) return;
    end("stopped");
    abandon();
    if (server.ours && connection.isConnected()) connection.request("stopQuestion", { questionId: id });
  }

  const abandon = () => underWay?.abort();

  return { goOn, stop, abandon, check: async () => true, chunk() {}, connectionLost() {}, unavailable() {} };
}
