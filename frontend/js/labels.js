/**
 * The labels around an answer, for servers that send plain strings and no meta.
 *
 * Such a server says neither whose a piece is nor whether one is missing, so
 * its answers can be shown but neither resumed nor stopped.
 */

import { emptyAnswer, isFinal } from "./answer.js";

const START = /^START:([^;]*);<br\/>$/;
const END = /^<br\/>;END:([^;]*)$/;

/** What a plain string is: `{kind: "start" | "end", id}`, or `{kind: "piece"}`. */
export function parseLabel(text) {
  const start = START.exec(text);
  if (start) return { kind: "start", id: start[1] };
  const end = END.exec(text);
  return end ? { kind: "end", id: end[1] } : { kind: "piece" };
}

/** Take in one `chunk` event that came without meta. `answer.plainId` is the id in its labels. */
export function foldPlain(answer, text) {
  if (isFinal(answer.status)) return answer;
  const { kind, id } = parseLabel(text);
  const started = answer.plainId !== undefined;
  if (kind === "start") return started ? answer : { ...emptyAnswer, plainId: id };
  if (!started) return answer;
  if (kind === "end") return id === answer.plainId ? { ...answer, status: "done" } : answer;
  return { ...answer, text: answer.text + text };
}
