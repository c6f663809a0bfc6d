/**
 * The conversation with the server about one question: asks, resumes, stops, and survives
 * lost connections. It changes its question in the store, and nothing else there.
 */

import { CONNECTION_LOST, NOT_KEPT, STOP_UNHEARD } from "./faults.js";
import { insist, RETRY_MS } from "./insist.js";
import { oneQuestion } from "./one.js";
import * as Question from "./question.js";

const CHECK_TIMEOUT_MS = 4_000; // a connection that says nothing for so long is given up

/** `server.ours` is shared by all conversations: whether this server is known to speak our contract. */
export function createConversation(id, { store, connection, server, now, pause }) {
  const { get, is, isOpen, change, end } = oneQuestion(store, id, now);
  let turn = 0; // grows with each connection: what belongs to an older one gives up
  let breaks = 0; // how often in a row the server could not go on reading

  /** Ask, or go on with what is under way, on the connection that stands now. */
  async function goOn() {
    turn += 1;
    if (!isOpen() || get().plain) return;
    if (get().stopping) await sendStop();
    if (!isOpen()) return;
    await (get().accepted || get().phase === "fetching" ? resume() : ask());
  }

  async function ask() {
    const { questionId, topic, question, sent } = get();
    change(Question.sent, now());
    settle(await request("askQuestion", { topic, topicQuestion: question, questionId }, { patient: sent }));
  }

  async function resume() {
    const ack = await request("resumeQuestion", whereWeAre(), { patient: true });
    settle(ack?.lost ? { error: NOT_KEPT } : ack);
  }

  const whereWeAre = () => {
    const { lastId } = get().answer;
    return lastId ? { questionId: id, after: lastId } : { questionId: id };
  };

  function settle(ack) {
    if (ack?.ok) change(Question.accepted, ack, now());
    else if (ack?.error) end("failed", ack.error);
  }

  function request(event, payload, { patient }) {
    const mine = turn;
    return insist({ connection, server, pause }, event, payload, {
      patient,
      stale: () => mine !== turn || !isOpen(),
      refused: (error) => change(Question.troubled, error),
    });
  }

  /** Stop the answer. Its END says that it has stopped, whoever else reads it. */
  function stop() {
    if (!is(Question.isRunning) || get().stopping) return;
    if (!get().sent || get().plain) return leave();
    change(Question.stopping);
    if (connection.isConnected()) sendStop();
  }

  async function sendStop() {
    const mine = turn;
    const ack = await connection.request("stopQuestion", { questionId: id });
    if (mine !== turn || !is(Question.isRunning) || ack.ok) return;
    if (ack.error?.code === "expired" && !get().accepted) end("stopped"); // it never got there
    else if (!connection.isConnected()) return; // the next connection tries again
    else if (ack.lost && !server.ours) leave(); // it knows no stop
    else change(Question.troubled, ack.error ?? STOP_UNHEARD);
  }

  /** End it here, whatever the server does. */
  function leave() {
    abandon();
    end("stopped");
  }

  /** Listen no more. A plain server goes on: only a new connection does not carry its words. */
  function abandon() {
    const isUnnamed = ({ sent, plain }) => sent && (plain || !server.ours);
    if (is((question) => Question.isRunning(question) && isUnnamed(question))) connection.renew();
  }

  /** Ask whether the connection still carries anything; resolves to false where it does not. */
  async function check() {
    if (!is((question) => Question.isOpen(question) && question.accepted && !question.plain)) return true;
    const ack = await connection.request("resumeQuestion", whereWeAre(), CHECK_TIMEOUT_MS);
    return !ack.lost;
  }

  function chunk(text, meta) {
    const before = get();
    if (Question.isOpen(before) && brokeOff(meta) && breaks < RETRY_MS.length) return void rejoin(meta.error);
    change(Question.chunkArrived, text, meta, now());
    const { answer } = get();
    if (answer.next > before.answer.next) breaks = 0;
    if (answer.hole && !before.answer.hole) resume();
  }

  /** The server could not read on; the answer itself may well go on. */
  async function rejoin(error) {
    const mine = turn;
    change(Question.troubled, error);
    await pause(RETRY_MS[breaks++]);
    if (mine === turn && isOpen()) await resume();
  }

  /** A plain server cannot go on with an answer. */
  function connectionLost() {
    if (is(Question.isRunning) && get().plain) end("failed", CONNECTION_LOST);
  }

  /** There will be no connection on this page. */
  function unavailable(error) {
    if (isOpen()) end("failed", error);
  }

  return { goOn, stop, abandon, check, chunk, connectionLost, unavailable };
}

/** An end for now that stands in no stream: it has no number, and trying again may help. */
const brokeOff = (meta) => meta?.status === "failed" && meta.number === undefined && meta.error?.retryable;
