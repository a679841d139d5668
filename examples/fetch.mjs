// Transcribe a recording with fetch: node fetch.mjs RECORDING [--stream]
import { readFile } from "node:fs/promises";

const service = process.env.SERVICE ?? "http://127.0.0.1:8000";
const key = process.env.ASRSERVICE_API_KEY;
const headers = key ? { Authorization: `Bearer ${key}` } : {};
const [path, option] = process.argv.slice(2);

function fail(message) {
  console.error(message);
  process.exit(1);
}

if (!path) fail("usage: node fetch.mjs RECORDING [--stream]");

async function send(fields) {
  const form = new FormData();
  form.append("file", new Blob([await readFile(path)]), "recording");
  for (const [name, value] of Object.entries(fields)) form.append(name, value);
  for (;;) {
    const response = await fetch(`${service}/transcribe`, { method: "POST", body: form, headers });
    if (response.ok) return response;
    if (response.status !== 429 && response.status !== 503) fail((await response.json()).error.message);
    await new Promise((resolve) => setTimeout(resolve, 1000 * Number(response.headers.get("retry-after") ?? 5)));
  }
}

// Yield the lines of the stream as they arrive. A chunk may hold part of a line or several lines.
async function* lines(stream) {
  let rest = "";
  for await (const chunk of stream.pipeThrough(new TextDecoderStream())) {
    const parts = (rest + chunk).split("\n");
    rest = parts.pop();
    yield* parts.map((line) => JSON.parse(line));
  }
}

if (option === "--stream") {
  let last;
  for await (const line of lines((await send({ response_format: "ndjson" })).body)) {
    last = line;
    if (line.type === "segment") console.log(`${line.start} ${line.end} ${line.text.trim()}`);
  }
  if (last?.type !== "transcript") fail(last?.error?.message ?? "The response ended early.");
} else {
  const response = await (await send({ word_timestamps: "true" })).json();
  console.log(response.text);
  for (const { words } of response.segments) {
    for (const { word, start, end } of words) console.log(`${start} ${end} ${word.trim()}`);
  }
}
