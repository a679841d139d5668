// OpenAI's SDK for Node: transcriptions in several formats, a stream and a translation.
import { createReadStream } from "node:fs";
import OpenAI from "openai";

const [url, audio] = process.argv.slice(2);
const client = new OpenAI({ baseURL: `${url}/v1`, apiKey: "any", maxRetries: 0 });
const file = () => createReadStream(audio);
console.log((await client.audio.transcriptions.create({ model: "gpt-4o-transcribe", file: file() })).text);
console.log((await client.audio.transcriptions.create({
  model: "whisper-1", file: file(), language: "en", response_format: "verbose_json",
  timestamp_granularities: ["word", "segment"], chunking_strategy: { type: "server_vad", threshold: 0 },
})).text);
const events = await client.audio.transcriptions.create({ model: "gpt-4o-mini-transcribe", file: file(), stream: true });
for await (const event of events) if (event.type === "transcript.text.done") console.log(event.text);
console.log((await client.audio.translations.create({ model: "whisper-1", file: file() })).text);
for await (const model of client.models.list()) if (model.id === "whisper-1") console.log((await client.models.retrieve(model.id)).id);
