/** The socket, as far as it is ours: what a page hears of it, and when it is tried again. */

import assert from "node:assert/strict";
import { mock, test } from "node:test";

import { createConnection } from "../js/connection.js";

/** A connection on a socket of which the test plays the other end. */
function begin() {
  const handlers = {};
  const emitted = [];
  const socket = {
    connected: false,
    active: true,
    calls: [],
    on: (event, handler) => (handlers[event] = handler),
    connect: () => socket.calls.push("connect"),
    disconnect: () => socket.calls.push("disconnect"),
    timeout: (ms) => ({ emit: (event, payload, callback) => emitted.push({ ms, event, payload, callback }) }),
  };
  const changes = [];
  const chunks = [];
  const connection = createConnection("http://a:3000", {
    change: (state) => changes.push(state),
    chunk: (...chunk) => chunks.push(chunk),
  });
  return { connection, socket, handlers, emitted, changes, chunks, open: () => connection.open(() => socket) };
}

test("Before a client is there, there is no connection, and renewing it does nothing.", () => {
  const { connection, socket } = begin();
  assert.equal(connection.isConnected(), false);
  connection.renew();
  assert.deepEqual(socket.calls, []);
});

test("A connection comes and goes; after three vain attempts it is called offline.", () => {
  const { handlers, changes, open } = begin();
  open();
  handlers.connect();
  handlers.disconnect("transport close");
  for (let attempt = 0; attempt < 3; attempt += 1) handlers.connect_error();
  handlers.connect();
  handlers.disconnect("transport close");
  assert.deepEqual(changes, [
    ...["connected", "reconnecting", "reconnecting", "reconnecting", "offline"],
    ...["connected", "reconnecting"],
  ]);
});

test("A server that says goodbye is tried again; a broken connection the client mends by itself.", () => {
  mock.timers.enable({ apis: ["setTimeout"] });
  try {
    const { socket, handlers, open } = begin();
    open();
    handlers.disconnect("transport close");
    mock.timers.tick(60_000);
    assert.deepEqual(socket.calls, []);
    handlers.disconnect("io server disconnect");
    mock.timers.tick(2_000);
    assert.deepEqual(socket.calls, ["connect"]);
    socket.active = false; // refused by the server, not by the network
    handlers.connect_error();
    mock.timers.tick(2_000);
    assert.deepEqual(socket.calls, ["connect", "connect"]);
  } finally {
    mock.timers.reset();
  }
});

test("Renewing gives the old connection up, and does not wait.", () => {
  const { connection, socket, open } = begin();
  open();
  connection.renew();
  assert.deepEqual(socket.calls, ["disconnect", "connect"]);
});

test("A request gets its acknowledgement, or is lost, and never rejects.", async () => {
  const { connection, emitted, open } = begin();
  open();
  const requests = [1, 2, 3].map((ms) => connection.request("stopQuestion", { questionId: "q" }, ms));
  emitted[0].callback(null, { ok: true });
  emitted[1].callback(new Error("timed out"));
  emitted[2].callback(null, undefined); // a plain server says nothing
  const lost = { ok: false, lost: true };
  assert.deepEqual(await Promise.all(requests), [{ ok: true }, lost, lost]);
  assert.deepEqual([emitted[0].event, emitted[0].payload, emitted[0].ms], ["stopQuestion", { questionId: "q" }, 1]);
});

test("Chunks are passed on as they come.", () => {
  const { handlers, chunks, open } = begin();
  open();
  handlers.chunk("a", { questionId: "q" });
  handlers.chunk("plain");
  assert.deepEqual(chunks, [["a", { questionId: "q" }], ["plain", undefined]]);

  let received = 0;
  handlers.chunk("b", { questionId: "q" }, () => (received += 1));
  assert.deepEqual(chunks.at(-1), ["b", { questionId: "q" }]);
  assert.equal(received, 1, "a server that asks whether it has come is told");
});
