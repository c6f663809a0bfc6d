/** Requests that are repeated until there is an answer, as far as repeating them is safe. */

export const RETRY_MS = [1_000, 2_000, 4_000, 8_000]; // the last one again and again

/**
 * Request until there is an acknowledgement; undefined once it no longer matters, and
 * `{lost: true}` where the server is not known to acknowledge anything.
 *
 * A request that got lost is repeated where the server is known to take the second one
 * for the first. A patient one, which may be about an answer that is being written, is
 * repeated, too, while it is refused only for now: `refused(error)` hears of that.
 */
export async function insist({ connection, server, pause }, event, payload, { patient, stale, refused }) {
  for (let refusals = 0; ; ) {
    const ack = await connection.request(event, payload);
    server.ours ||= !ack.lost;
    if (stale()) return undefined;
    if (ack.lost) {
      if (!connection.isConnected()) return undefined; // the next connection goes on
      if (!server.ours) return ack;
      patient = true;
      continue;
    }
    if (ack.ok || !patient || !ack.error?.retryable) return ack;
    refused(ack.error);
    await pause(RETRY_MS[Math.min(refusals++, RETRY_MS.length - 1)]);
    if (stale()) return undefined;
  }
}
