// Connects N sockets with a real Socket.IO client, asks on each of them, and
// prints one JSON line per answer. Exits with 0 however the answers turned out:
// judging them is the test's business.
//
//   node ask.mjs --url http://127.0.0.1:3000 --client 4.0 --transports polling \
//     --count 3 --topic Redis --question "Why {n}?"
//
// {n} in the question becomes the socket's number, so that questions can differ.
// --question-id-prefix P  the client chooses the ids: P, filled up to a UUID's 36
//                         characters with the socket's number; a whole UUID is
//                         used by every socket as it is
// --raw JSON              sent instead of {topic, topicQuestion}
// --no-callback           asks as old pages do, without an acknowledgement
// --resume                after a reconnect, goes on behind the last entry seen
// --linger-ms             how long to look out for chunks after the last END

import { parseArgs } from "node:util";

const { values: options } = parseArgs({
  options: {
    url: { type: "string", default: "http://127.0.0.1:3000" },
    client: { type: "string", default: "current" },
    transports: { type: "string", default: "default" },
    count: { type: "string", default: "1" },
    topic: { type: "string", default: "Redis" },
    question: { type: "string", default: "What is a stream?" },
    "question-id-prefix": { type: "string" },
    raw: { type: "string" },
    "no-callback": { type: "boolean", default: false },
    resume: { type: "boolean", default: false },
    "timeout-ms": { type: "string", default: "30000" },
    "linger-ms": { type: "string", default: "100" },
  },
});

const packages = { "4.0": "socket.io-client-4.0", current: "socket.io-client" };
const START = /^START:(.+);<br\/>$/;
const END = /^<br\/>;END:(.+)$/;

const { io } = await import(packages[options.client] ?? fail(`no client ${options.client}`));
const answers = Array.from({ length: Number(options.count) }, (_, number) => ask(number));
const results = await Promise.all(answers.map((answer) => answer.ended));
await pause(Number(options["linger-ms"]));
for (const { socket } of answers) socket.disconnect();
const lines = results.map((result) => `${JSON.stringify(result)}\n`).join("");
process.stdout.write(lines, () => process.exit(0)); // a pipe takes 64 kB at once, not all

function ask(number) {
  const payload = payloadOf(number);
  const answer = {
    questionId: payload?.questionId ?? null,
    status: null,
    text: "",
    chunks: 0, // every chunk event, labels included
    pieces: 0, // those that carry words of the model
    notices: [],
    firstMs: null,
    totalMs: null,
    ack: null,
    transport: null,
    attempt: null,
    starts: 0,
    ends: 0,
    foreign: 0,
    connects: 0,
    error: null,
  };
  const socket = connect();
  let askedAt = null;
  let lastId = null;
  let settle;
  const ended = new Promise((resolve) => (settle = resolve));
  const timer = setTimeout(() => finish("timeout"), Number(options["timeout-ms"]));

  socket.on("connect", () => {
    answer.connects += 1;
    if (askedAt === null) send();
    else if (options.resume && answer.questionId && answer.status === null) goOn();
  });
  socket.on("connect_error", (error) => (answer.error ??= String(error.message)));
  socket.on("chunk", receive);
  return { socket, ended };

  function send() {
    askedAt = performance.now();
    if (options["no-callback"]) socket.emit("askQuestion", payload);
    else socket.emit("askQuestion", payload, acknowledged);
  }

  function goOn() {
    const position = lastId === null ? {} : { after: lastId };
    socket.emit("resumeQuestion", { questionId: answer.questionId, ...position }, () => {});
  }

  function acknowledged(ack) {
    answer.ack = ack;
    answer.questionId ??= ack?.questionId ?? null;
    if (ack?.ok === false && answer.starts === 0) {
      answer.error = ack.error;
      finish("refused");
    }
  }

  function receive(text, meta) {
    answer.chunks += 1;
    const label = labelOf(text, meta);
    const id = meta?.questionId ?? label?.id ?? answer.questionId;
    answer.questionId ??= id;
    if (id !== answer.questionId) {
      answer.foreign += 1;
      return;
    }
    lastId = meta?.id || lastId;
    if (label?.kind === "start") start(meta);
    else if (label?.kind === "end") end(meta);
    else if (meta?.notice === true) answer.notices.push(text);
    else piece(text);
  }

  function start(meta) {
    answer.starts += 1;
    answer.attempt = meta?.attempt ?? null;
    answer.text = ""; // another START is another attempt: it begins anew
    answer.pieces = 0;
  }

  function piece(text) {
    answer.firstMs ??= elapsed();
    answer.pieces += 1;
    answer.text += text;
  }

  function end(meta) {
    answer.ends += 1;
    answer.error = meta?.error ?? null;
    finish(meta?.status ?? "ended"); // old servers say no more than that it ended
  }

  function finish(status) {
    if (answer.status !== null) return;
    clearTimeout(timer);
    answer.status = status;
    answer.totalMs = askedAt === null ? null : elapsed();
    answer.transport = socket.io.engine?.transport?.name ?? null;
    settle(answer);
  }

  function elapsed() {
    return Math.round((performance.now() - askedAt) * 10) / 10;
  }
}

// With meta the label is known by it, so that an answer may contain whatever
// looks like one; a server without meta leaves only the text to go by.
function labelOf(text, meta) {
  const start = START.exec(text);
  if (start && (meta?.number === undefined || meta.number === 0)) {
    return { kind: "start", id: start[1] };
  }
  const end = END.exec(text);
  if (end && (meta === undefined || meta.status !== undefined)) {
    return { kind: "end", id: end[1] };
  }
  return null;
}

function payloadOf(number) {
  if (options.raw !== undefined) return JSON.parse(options.raw);
  const question = options.question.replaceAll("{n}", String(number));
  const payload = { topic: options.topic, topicQuestion: question };
  const prefix = options["question-id-prefix"];
  if (prefix === undefined) return payload;
  const rest = Math.max(0, 36 - prefix.length);
  const questionId = rest ? prefix + String(number).padStart(rest, "0") : prefix;
  return { ...payload, questionId };
}

function connect() {
  const settings = { forceNew: true };
  if (options.transports !== "default") settings.transports = options.transports.split(",");
  return io(options.url, settings);
}

function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

function fail(message) {
  console.error(message);
  process.exit(2);
}
