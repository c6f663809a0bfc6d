/** Links to answers: the id stands in the fragment, and only there. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { linkedQuestion, linkTo } from "../js/link.js";

const ID = "0a1b2c3d-1111-4222-8333-444455556666";

test("A link leads back to its question.", () => {
  for (const id of [ID, ID.toUpperCase(), `Q-${ID}`]) {
    assert.equal(linkedQuestion(new URL(linkTo(id, "http://a:5400/")).hash), id);
  }
});

test("A link keeps the backend, and drops the link that the page was opened with.", () => {
  const page = `http://a:5400/?backend=http://b:1#q=${ID.replace("0", "9")}`;
  assert.equal(linkTo(ID, page), `http://a:5400/?backend=http://b:1#q=${ID}`);
});

test("Whatever else stands in the fragment is no question.", () => {
  for (const hash of ["", "#", "#question", "#q=", "#q=1", `#q=${ID}x`, `#x=${ID}`, `#q=<b>${ID}`]) {
    assert.equal(linkedQuestion(hash), null, hash);
  }
});
