/** The socket: knows Socket.IO, and neither the page nor the state. */

const ACK_TIMEOUT_MS = 10_000;
const KICKED_RETRY_MS = 2_000;
const FAILURES_UNTIL_OFFLINE = 3;

/**
 * A connection to the backend that, once open, reconnects for as long as the page is there.
 *
 * Calls `on.change("connected" | "reconnecting" | "offline")`, `on.connected()` for
 * each new connection, and `on.chunk(text, meta)`.
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
      on.connected();
    });
    socket.on("disconnect", lost);
    socket.on("connect_error", () => {
      failures += 1;
      lost();
    });
    socket.on("chunk", (text, meta) => on.chunk(text, meta));
  }

  function lost() {
    on.change(failures < FAILURES_UNTIL_OFFLINE && navigator.onLine ? "reconnecting" : "offline");
    // The client reconnects by itself, save where it was the server that said goodbye.
    if (!socket.active) setTimeout(() => socket.connect(), KICKED_RETRY_MS);
  }

  /**
   * Emit an event and wait for its acknowledgement.
   *
   * Never rejects: `{ok: false, lost: true}` says that none came within 10 s, that it says
   * nothing, or that the connection broke: nobody knows whether the server heard it.
   */
  function request(event, payload) {
    return new Promise((resolve) => {
      socket.timeout(ACK_TIMEOUT_MS).emit(event, payload, (failure, ack) => {
        resolve(failure || !ack ? { ok: false, lost: true } : ack);
      });
    });
  }

  return { open, request, isConnected: () => socket?.connected ?? false };
}
