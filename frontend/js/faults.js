/** Failures that the page itself finds, in the form in which the server tells its own. */

import { MAX_QUESTIONS } from "./state.js";

const fault = (code, message, retryable) => Object.freeze({ code, message, retryable });

export const CONNECTION_LOST = fault(
  "connection_lost",
  "The connection broke, and this server cannot go on with an answer.",
  true,
);
export const NOT_KEPT = fault("not_kept", "This server does not show an answer again.", false);
export const STOP_UNHEARD = fault("unconfirmed", "The server has not confirmed the stop. Please try again.", true);
export const TOO_MANY = fault(
  "too_many",
  `${MAX_QUESTIONS} answers are under way on this page. Please wait for one, or stop one.`,
  true,
);

/** There is no Socket.IO client on this page, so there will be no connection either. */
export const unavailable = (message) => fault("unavailable", message, false);

/** What can go wrong with a POST, besides what the server says itself. */
export const unreachable = () => fault("unreachable", "The server cannot be reached.", true);
export const badAnswer = (message) => fault("http", message, true);
