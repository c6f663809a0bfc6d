// Does what the page of the tutorial does with a backend, and nothing that it
// does not do: it knows the URL, one event out and one event in, and only the
// first argument of that. Prints {output, spinner, chunks} once it has seen an
// END label; exits with 1 if none comes in time.
//
//   node tutorial_page.mjs --url http://127.0.0.1:3000 --question "Why?"

import { parseArgs } from "node:util";

const { values: options } = parseArgs({
  options: {
    url: { type: "string", default: "http://127.0.0.1:3000" },
    client: { type: "string", default: "4.0" }, // the version that the page loads
    topic: { type: "string", default: "Redis" },
    question: { type: "string", default: "What is a stream?" },
    "timeout-ms": { type: "string", default: "30000" },
  },
});

const name = options.client === "4.0" ? "socket.io-client-4.0" : "socket.io-client";
const { io } = await import(name);

const page = { output: "", spinner: false, chunks: 0 };
const socket = io(options.url);
setTimeout(() => leave(1), Number(options["timeout-ms"]));

socket.on("chunk", (chunk) => {
  page.chunks += 1;
  page.output += chunk;
  // A chunk that is no string throws here, as it would in the page.
  if (chunk.match("START:") || chunk.match("END:")) page.spinner = false;
  if (chunk.match("END:")) leave(0);
});

page.spinner = true;
socket.emit("askQuestion", { topic: options.topic, topicQuestion: options.question });

function leave(status) {
  console.log(JSON.stringify(page));
  process.exit(status);
}
