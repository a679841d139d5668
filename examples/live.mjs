// Transcribe speech while it is spoken, as a browser does: node live.mjs SPEECH.wav (Node 22; Node 20 needs
// --experimental-websocket). The WAV file (mono, 16 bit) stands for a microphone: it is sent as fast as it was spoken.
// To make one: ffmpeg -i TALK.mp3 -ac 1 -ar 24000 SPEECH.wav
import { readFile } from "node:fs/promises";

const service = process.env.SERVICE ?? "http://127.0.0.1:8000";
const key = process.env.ASRSERVICE_API_KEY ?? "unused";
const PIECE_S = 0.1;

// A page must not contain an API key. Its own server asks for a key of a few minutes.
async function clientSecret(session) {
  const response = await fetch(`${service}/v1/realtime/client_secrets`, {
    method: "POST",
    headers: { Authorization: `Bearer ${key}`, "Content-Type": "application/json" },
    body: JSON.stringify({ session }),
  });
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error.message);
  return answer.value;
}

if (process.argv.length !== 3) throw new Error("usage: node live.mjs SPEECH.wav");
const wav = await readFile(process.argv[2]);
if (wav.toString("latin1", 0, 4) !== "RIFF" || wav.readUInt16LE(22) !== 1 || wav.readUInt16LE(34) !== 16) {
  throw new Error("The recording must be a WAV file, mono, 16 bit: ffmpeg -i TALK.mp3 -ac 1 -ar 24000 SPEECH.wav");
}
const rate = wav.readUInt32LE(24);
const sound = Buffer.concat([wav.subarray(44), Buffer.alloc(2 * rate)]); // a second of silence ends the last turn
const format = { type: "audio/pcm", rate };
const secret = await clientSecret({ type: "transcription", audio: { input: { format } } });

const socket = new WebSocket(service.replace("http", "ws") + "/v1/realtime?intent=transcription", [
  "realtime",
  `openai-insecure-api-key.${secret}`,
]);
const send = (event) => socket.send(JSON.stringify(event));
let at = 0;
let turns = 0;
let isHeard = false;

function sendNext() {
  const piece = sound.subarray(at, (at += 2 * Math.round(rate * PIECE_S)));
  if (!piece.length) return send({ type: "input_audio_buffer.clear" }); // answered when all sound before it was heard
  send({ type: "input_audio_buffer.append", audio: piece.toString("base64") });
  setTimeout(sendNext, 1000 * PIECE_S);
}

function end() {
  if (isHeard && !turns) socket.close(1000);
}

socket.onmessage = ({ data }) => {
  const event = JSON.parse(data);
  if (event.type === "session.created") sendNext();
  if (event.type === "input_audio_buffer.committed") turns += 1;
  if (event.type === "input_audio_buffer.cleared") {
    isHeard = true;
    end();
  }
  if (event.type === "conversation.item.input_audio_transcription.delta") process.stdout.write(event.delta);
  if (event.type === "conversation.item.input_audio_transcription.completed") {
    console.log(`\n> ${event.transcript}`);
    turns -= 1;
    end();
  }
  if (event.type === "error") console.error(event.error.message);
  if (event.type === "conversation.item.input_audio_transcription.failed") {
    console.error(event.error.message);
    process.exit(1);
  }
};
socket.onclose = ({ code, reason }) => process.exit(code === 1000 ? 0 : (console.error(code, reason), 1));
