/**
 * The conversation with the server: asks, resumes, stops, and survives lost connections.
 *
 * Knows neither the page nor Socket.IO: it is handed a connection, and changes the store.
 */

import * as State from "./state.js";

const RETRY_MS = [1_000, 2_000, 4_000, 8_000]; // the last one again and again

const CUT = {
  code: "connection_lost",
  message: "The connection broke, and this server cannot go on with an answer.",
  retryable: true,
};
const STOP_UNHEARD = {
  code: "unconfirmed",
  message: "The server has not confirmed the stop. Please try again.",
  retryable: true,
};

export function createSession({ store, connection, saved, post, newId, now = Date.now, pause = sleep }) {
  let turn = 0; // grows with each question and each connection: what belongs to an older one gives up
  let sent = false; // the server may have heard the question
  let acknowledges = false; // this server is known to speak our contract: asking twice is safe
  let breaks = 0; // how often in a row the server could not go on reading
  let unusable = null; // why there will be no connection at all
  let cancelPost = null;

  const running = () => State.isRunning(store.get());
  const open = () => State.isOpen(store.get());
  const end = (status, error = null) => store.update((state) => State.ended(state, status, error, now()));

  store.subscribe((state, before) => {
    const milestone = ["question", "accepted", "firstAt", "endedAt"].some((key) => state[key] !== before[key]);
    if (milestone) remember(state);
  });

  /** Only what can be resumed or asked again is worth remembering. */
  function remember(state) {
    const refused = state.endedAt !== null && !state.accepted;
    if (state.question?.streamed && !state.plain && !refused) saved.write(state);
    else saved.clear();
  }

  /** After a reload: take up the question of this tab again; `connected()` goes on with it. */
  function restore() {
    const before = saved.read();
    sent = before !== null;
    if (before) store.update((state) => State.restored(state, before));
  }

  /** Ask; refused (false) while another answer is being written. */
  function ask({ topic, question, streamed }) {
    if (running()) return false;
    turn += 1;
    sent = false;
    breaks = 0;
    store.update((state) => State.asked(state, { questionId: newId(), topic, question, streamed }, now()));
    if (!streamed) askWhole();
    else if (unusable) end("failed", unusable);
    else if (connection.isConnected()) sendAsk();
    return true;
  }

  /** A new connection stands: go on with what was under way. */
  async function connected() {
    turn += 1;
    const { question, phase, accepted, plain, stopping } = store.get();
    if (!open() || !question.streamed || plain) return;
    if (stopping) await sendStop();
    if (!open()) return;
    await (accepted || phase === "restoring" ? resume() : sendAsk());
  }

  async function sendAsk() {
    const repeated = sent;
    sent = true;
    const { questionId, topic, question } = store.get().question;
    const ack = await insist("askQuestion", { topic, topicQuestion: question, questionId }, { patient: repeated });
    if (ack?.ok) store.update(State.accepted);
    else if (ack) end("failed", ack.error);
  }

  async function resume() {
    const { question, answer, phase } = store.get();
    const payload = { questionId: question.questionId };
    if (answer.lastId) payload.after = answer.lastId;
    const ack = await insist("resumeQuestion", payload, { patient: true });
    if (ack?.ok) store.update(State.accepted);
    else if (ack && phase === "restoring") store.update(State.forgotten);
    else if (ack) end("failed", ack.error);
  }

  /**
   * Request until there is an acknowledgement; undefined once it no longer matters.
   *
   * A request that got lost is repeated where the server is known to take the second one
   * for the first. A patient one, which may be about an answer that is being written, is
   * repeated, too, while it is refused only for now.
   */
  async function insist(event, payload, { patient = false } = {}) {
    const mine = turn;
    const stale = () => mine !== turn || !open();
    for (let refusals = 0; ; ) {
      const ack = await connection.request(event, payload);
      acknowledges ||= !ack.lost;
      if (stale()) return undefined;
      if (ack.lost) {
        if (!connection.isConnected() || !acknowledges) return undefined; // `connected()` goes on
        patient = true;
        continue;
      }
      if (ack.ok || !patient || !ack.error?.retryable) return ack;
      store.update((state) => State.troubled(state, ack.error));
      await pause(RETRY_MS[Math.min(refusals++, RETRY_MS.length - 1)]);
      if (stale()) return undefined;
    }
  }

  async function askWhole() {
    const { question } = store.get();
    const current = () => running() && store.get().question === question;
    cancelPost = new AbortController();
    try {
      const text = await post(question, cancelPost.signal);
      if (current()) store.update((state) => State.wholeAnswerArrived(state, text, now()));
    } catch (error) {
      if (current()) end("failed", error);
    }
  }

  /** Stop the answer. Its END says that it has stopped, whoever else reads it. */
  function stop() {
    const { question, stopping } = store.get();
    if (!running() || stopping) return;
    if (!question.streamed) {
      end("stopped");
      cancelPost.abort();
    } else if (!sent) {
      end("stopped");
    } else {
      store.update(State.stopping);
      if (connection.isConnected()) sendStop();
    }
  }

  async function sendStop() {
    const mine = turn;
    const { questionId } = store.get().question;
    const ack = await connection.request("stopQuestion", { questionId });
    if (mine !== turn || !running() || ack.ok) return;
    if (ack.error?.code === "expired" && !store.get().accepted) end("stopped"); // it never got there
    else if (connection.isConnected()) store.update((state) => State.troubled(state, ack.error ?? STOP_UNHEARD));
  }

  function connectionChanged(connectionState) {
    store.update((state) => State.connectionChanged(state, connectionState));
    if (connectionState !== "connected" && running() && store.get().plain) end("failed", CUT);
  }

  /** There will be no connection on this page: only the answer in one go is left. */
  function unavailable({ message }) {
    unusable = { code: "unavailable", message, retryable: false };
    connectionChanged("offline");
    if (open() && store.get().question.streamed) end("failed", unusable);
    else store.update((state) => State.troubled(state, unusable));
  }

  /** A `chunk` event: ours if its meta says so; a plain server sends none. */
  function chunk(text, meta) {
    const { question, accepted, plain, answer } = store.get();
    if (!question?.streamed || typeof text !== "string") return;
    if (!meta) {
      if (!accepted || plain) store.update((state) => State.chunkArrived(state, text, null, now()));
    } else if (meta.questionId === question.questionId) {
      acknowledges = true;
      if (meta.attempt === 0) return; // a refusal, for pages that take no acknowledgements: we do
      if (open() && brokeOff(meta) && breaks < RETRY_MS.length) return void rejoin(meta.error);
      store.update((state) => State.chunkArrived(state, text, meta, now()));
      if (store.get().answer.next > answer.next) breaks = 0;
      if (store.get().answer.hole && !answer.hole) resume();
    }
  }

  /** The server could not read on; the answer itself may well go on. */
  async function rejoin(error) {
    const mine = turn;
    store.update((state) => State.troubled(state, error));
    await pause(RETRY_MS[breaks++]);
    if (mine === turn && open()) await resume();
  }

  return { restore, ask, stop, connected, connectionChanged, unavailable, chunk };
}

/** An end for now that stands in no stream: it has no number, and trying again may help. */
const brokeOff = ({ status, number, error }) => status === "failed" && number === undefined && error?.retryable;

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
