// A real client that a test leads: for each line of JSON on stdin, [event, payload],
// it emits that event with a callback. Prints ["ack", answer] for each of these and
// ["chunk", text, meta] for each chunk. Disconnects and exits when stdin ends.
//
//   node talk.mjs --url http://127.0.0.1:3000 --client current --transports websocket

import { createInterface } from "node:readline";
import { parseArgs } from "node:util";

const { values: options } = parseArgs({
  options: {
    url: { type: "string", default: "http://127.0.0.1:3000" },
    client: { type: "string", default: "current" },
    transports: { type: "string", default: "websocket" },
  },
});

const name = options.client === "4.0" ? "socket.io-client-4.0" : "socket.io-client";
const { io } = await import(name);

const socket = io(options.url, { transports: options.transports.split(",") });
socket.on("chunk", (text, meta) => print(["chunk", text, meta]));

for await (const line of createInterface({ input: process.stdin })) {
  const [event, payload] = JSON.parse(line);
  socket.emit(event, payload, (answer) => print(["ack", answer]));
}
socket.disconnect();

function print(value) {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}
