// OpenAI's SDK for Node over the Realtime API. The client commits its turn.
import { readFile } from "node:fs/promises";
import OpenAI from "openai7";
import { OpenAIRealtimeWS } from "openai7/realtime/ws";

const [url, audio] = process.argv.slice(2);
const pcm = (await readFile(audio)).subarray(44);
const socket = new OpenAIRealtimeWS({ intent: "transcription" }, new OpenAI({ baseURL: `${url}/v1`, apiKey: "any" }));
const input = { format: { type: "audio/pcm", rate: 24000 }, transcription: { model: "whisper-1" }, turn_detection: null };

socket.on("session.created", () => socket.send({ type: "session.update", session: { type: "transcription", audio: { input } } }));
socket.on("session.updated", () => {
  for (let at = 0; at < pcm.length; at += 4800) {
    socket.send({ type: "input_audio_buffer.append", audio: pcm.subarray(at, at + 4800).toString("base64") });
  }
  socket.send({ type: "input_audio_buffer.commit" });
});
socket.on("conversation.item.input_audio_transcription.completed", ({ transcript }) => {
  console.log(transcript);
  socket.close();
});
socket.on("error", (error) => {
  throw error;
});
