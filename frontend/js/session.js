/**
 * All conversations of this page on one connection: who is spoken to when, and whose words arrive.
 *
 * Knows neither the page nor Socket.IO: it is handed a connection, and changes the store.
 */

import { createConversation } from "./conversation.js";
import { TOO_MANY, unavailable as unavailableFault } from "./faults.js";
import * as Question from "./question.js";
import * as State from "./state.js";
import { createWhole } from "./whole.js";

export function createSession({ store, connection, post, newId, now = Date.now, pause = sleep }) {
  const conversations = new Map(); // by id of the question
  const server = { ours: false }; // known to speak our contract
  const means = { store, connection, server, post, now, pause };
  let unusable = null; // why there will be no connection at all

  const questions = () => store.get().questions;
  const open = () => questions().filter(Question.isOpen);
  const conversationOf = ({ questionId }) => conversations.get(questionId);

  /** Ask; returns the question's id, or null where too many are under way. */
  function ask({ topic, question, streamed }) {
    if (!State.hasPlace(store.get())) {
      store.update((state) => State.troubled(state, TOO_MANY));
      return null;
    }
    return begin(newQuestion({ topic, question, streamed }));
  }

  /** Ask the same once more, under a new id, in the place of a question that has ended. */
  function retry(id) {
    const ended = State.questionOf(store.get(), id);
    return ended && !Question.isOpen(ended) ? begin(newQuestion(ended), id) : null;
  }

  /** Ask the same once more, beside it. */
  function askAgain(id) {
    const question = State.questionOf(store.get(), id);
    return question && ask(question);
  }

  const newQuestion = ({ topic, question, streamed }) =>
    Question.asked({ questionId: newId(), topic, question, streamed }, now());

  /** Read an answer from its start; of the question, `stored`, only the id has to be known. */
  function read(stored) {
    if (State.questionOf(store.get(), stored.questionId)) return;
    if (stored.accepted) server.ours = true; // plain servers keep nothing
    begin(Question.fetched(stored, now()));
  }

  /** After a reload: take up the questions of this tab again. */
  function restore(stored) {
    server.ours ||= stored.some(({ accepted }) => accepted);
    const again = (one) => (one.status === "running" ? Question.restored(one, now()) : Question.fetched(one, now()));
    for (const one of stored) begin(again(one));
  }

  function begin(question, replacedId = null) {
    const id = question.questionId;
    const conversation = isPosted(question) ? createWhole(id, means) : createConversation(id, means);
    conversations.set(id, conversation);
    store.update((state) => (replacedId ? State.replaced(state, replacedId, question) : State.opened(state, question)));
    forgetClosed();
    // What has not been sent goes out by itself, once it may.
    if (isPosted(question) || (question.sent && connection.isConnected())) conversation.goOn();
    if (unusable) conversation.unavailable(unusable);
    return id;
  }

  /** Take a question off the page; the server goes on answering it. */
  function close(id) {
    conversations.get(id)?.abandon();
    store.update((state) => State.closed(state, id));
    forgetClosed();
  }

  function forgetClosed() {
    for (const id of conversations.keys()) if (!State.questionOf(store.get(), id)) conversations.delete(id);
  }

  const stop = (id) => conversations.get(id)?.stop();

  /**
   * Send what has not been sent. A plain server does not say whose a piece is: as long as
   * this may be one, the next question waits for the end of the one before it. Sending one
   * changes the store, and so leads back here for the next.
   */
  function sendHeld() {
    if (!connection.isConnected()) return;
    const held = open().find((question) => !isSent(question));
    const mustWait = !server.ours && open().some((question) => isSent(question) && !isPosted(question));
    if (held && !mustWait) conversationOf(held).goOn();
  }
  store.subscribe(sendHeld);

  function connectionChanged(connectionState) {
    const underWay = open().filter(isSent); // the others are about to be sent
    store.update((state) => State.connectionChanged(state, connectionState));
    for (const question of underWay) {
      if (connectionState === "connected") conversationOf(question)?.goOn();
      else conversationOf(question)?.connectionLost();
    }
  }

  /** There will be no connection on this page: only the answer in one go is left. */
  function unavailable({ message }) {
    unusable = unavailableFault(message);
    store.update((state) => State.troubled(State.connectionChanged(state, "unavailable"), unusable));
    for (const question of open()) conversationOf(question).unavailable(unusable);
  }

  /** A `chunk` event: ours if its meta says whose it is; a plain server sends none. */
  function chunk(text, meta) {
    if (typeof text !== "string") return;
    if (!meta) return void conversationOf(plainTurn())?.chunk(text, null);
    if (!conversations.has(meta.questionId)) return; // closed, or never ours
    server.ours = true;
    // Attempt 0 is a refusal, for pages that take no acknowledgements: we do.
    if (meta.attempt !== 0) conversations.get(meta.questionId).chunk(text, meta);
  }

  /** The question that a plain server is answering. */
  const plainTurn = () =>
    open().find(({ sent, streamed, accepted, plain }) => sent && streamed && (plain || !accepted)) ?? {};

  /** The page was asleep, or the network away: find out now, not at the next heartbeat. */
  async function wake() {
    if (unusable) return;
    if (!connection.isConnected()) return connection.renew();
    const alive = await Promise.all(open().map((question) => conversationOf(question).check()));
    if (alive.includes(false)) connection.renew();
  }

  return { ask, retry, askAgain, read, restore, close, stop, connectionChanged, unavailable, chunk, wake };
}

/** Whether an answer is to come by POST; one that is read again comes over the socket, whatever it was. */
const isPosted = ({ streamed, phase }) => !streamed && phase !== "fetching";

const isSent = ({ sent }) => sent;
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
