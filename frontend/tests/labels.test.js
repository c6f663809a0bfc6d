/** Servers that send plain strings: the labels are all there is. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { emptyAnswer } from "../js/answer.js";
import { foldPlain, parseLabel } from "../js/labels.js";

const read = (...texts) => texts.reduce(foldPlain, emptyAnswer);

test("Labels are told from pieces.", () => {
  assert.deepEqual(parseLabel("START:42;<br/>"), { kind: "start", id: "42" });
  assert.deepEqual(parseLabel("<br/>;END:42"), { kind: "end", id: "42" });
  for (const text of ["", "START:", "see START:42;<br/>", "<br/>", "END:42"]) {
    assert.deepEqual(parseLabel(text), { kind: "piece" }, text);
  }
});

test("The pieces between the labels are the answer.", () => {
  const answer = read("START:7;<br/>", "a", "<br/>", "b", "<br/>;END:7");
  assert.equal(answer.text, "a<br/>b");
  assert.equal(answer.status, "done");
});

test("What comes before START and after END is somebody else's.", () => {
  assert.equal(read("x", "START:7;<br/>", "a", "<br/>;END:7", "y").text, "a");
});

test("The labels of another answer neither open nor close this one.", () => {
  const answer = read("START:7;<br/>", "a", "START:8;<br/>", "<br/>;END:8", "b");
  assert.equal(answer.text, "ab");
  assert.equal(answer.status, "running");
});
