/** Where the page looks for its backend, and the ids it gives its questions. */

import assert from "node:assert/strict";
import { test } from "node:test";

import { backendAddress } from "../js/address.js";
import { newQuestionId } from "../js/identifier.js";

const cases = [
  ["port 3000 of the page's host", "http://example.org:5400/", "", "http://example.org:3000"],
  ["the same scheme", "https://example.org/", "", "https://example.org:3000"],
  ["an IPv6 host", "http://[::1]:5400/", "", "http://[::1]:3000"],
  ["the meta element", "http://a/", "https://b.example", "https://b.example"],
  ["a port in the meta element", "http://a:5400/", "3100", "http://a:3100"],
  ["the query before the meta element", "http://a/?backend=http://c:1", "http://b", "http://c:1"],
  ["a port in the query", "http://a/?backend=81", "", "http://a:81"],
  ["the origin alone", "http://a/?backend=http://c:1/path?x#y", "", "http://c:1"],
];
for (const [name, page, meta, expected] of cases) {
  test(`The backend's address: ${name}.`, () => assert.equal(backendAddress(page, meta), expected));
}

test("An address that is not http(s) is refused in words.", () => {
  for (const bad of ["javascript:alert(1)", "ftp://a", "a:b", "//a", "x", "99999"]) {
    const page = `http://a/?backend=${encodeURIComponent(bad)}`;
    assert.throws(() => backendAddress(page), /has to start with http/, bad);
  }
});

test("Without randomUUID, as on plain http, ids are version 4 UUIDs as well.", () => {
  const insecure = { getRandomValues: (bytes) => globalThis.crypto.getRandomValues(bytes) };
  const uuid4 = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;
  const ids = new Set(Array.from({ length: 100 }, () => newQuestionId(insecure)));
  assert.equal(ids.size, 100);
  for (const id of ids) assert.match(id, uuid4);
  assert.match(newQuestionId(), uuid4);
});
