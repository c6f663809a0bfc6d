/** The socket: knows Socket.IO, and neither the page nor the state. */

const ACK_TIMEOUT_MS = 10_000;
const KICKED_RETRY_MS = 2_000;
const FAILURES_UNTIL_OFFLINE = 3;

/**
 * A connection to the backend that, once open, reconnects for as long as the page is there.
 *
 * Calls `on.change("connected" | "reconnecting" | "offline")`, with the first for each
 * new connection, and `on.chunk(text, meta)`.
 */
export function createConnection(address, on) {
  let socket = null;
  let failures = 0;

  /** Connect with socket.io-client's `io`. */
  function open(io) {
    socket = io(address, { reconnectionDelay: 500, reconnectionDelayMax: 5_000 });
    socket.on("connect", () => {
      failures = 0;
      on.change("connected");
    });
    socket.on("disconnect", (reason) => {
      lost();
      if (reason === "io server disconnect") tryAgainLater();
    });
    socket.on("connect_error", () => {
      failures += 1;
      lost();
      if (!socket.active) tryAgainLater();
    });
    socket.on("chunk", (text, meta, received) => {
      on.chunk(text, meta);
      if (typeof received === "function") received(); // the server wants to know, now and then
    });
  }

  function lost() {
    const isOffline = failures >= FAILURES_UNTIL_OFFLINE || globalThis.navigator?.onLine === false;
    on.change(isOffline ? "offline" : "reconnecting");
  }

  /** The client reconnects by itself, save where it was the server that said goodbye. */
  function tryAgainLater() {
    setTimeout(() => socket.connect(), KICKED_RETRY_MS);
  }

  /** Connect anew, at once, whatever the connection believes of itself and however long it meant to wait. */
  function renew() {
    socket?.disconnect();
    socket?.connect();
  }

  /**
   * Emit an event and wait for its acknowledgement.
   *
   * Never rejects: `{ok: false, lost: true}` says that none came in time, that it says
   * nothing, or that the connection broke: nobody knows whether the server heard it.
   */
  function request(event, payload, timeoutMs = ACK_TIMEOUT_MS) {
    return new Promise((resolve) => {
      socket.timeout(timeoutMs).emit(event, payload, (failure, ack) => {
        resolve(failure || !ack ? { ok: false, lost: true } : ack);
      });
    });
  }

  return { open, renew, request, isConnected: () => socket?.connected ?? false };
}
