// Groq's SDK for Node, whose base URL has no path: it adds /openai/v1.
import { createReadStream } from "node:fs";
import Groq from "groq-sdk";

const [url, audio] = process.argv.slice(2);
const client = new Groq({ baseURL: url, apiKey: "any", maxRetries: 0 });
console.log((await client.audio.transcriptions.create({
  model: "whisper-1", file: createReadStream(audio), response_format: "verbose_json",
  timestamp_granularities: ["word", "segment"],
})).text);
