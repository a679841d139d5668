// The socket of live speech: docs/api.md#live-speech. A browser opens it with a key of a few minutes.

import { BASE } from "../core/config.js";
import { requestJson } from "./client.js";

const SECRET_S = 60;
/** A connection that is so far behind gets no more audio; its text would come too late. */
const MAX_UNSENT_BYTES = 2_000_000;

/** Open a session. Resolves to {send, commit, close} when it takes audio. Throws Problem. */
export async function openLive(session, { onEvent, onClose }) {
  const body = JSON.stringify({ expires_after: { seconds: SECRET_S }, session: { type: "transcription", ...session } });
  const headers = { "Content-Type": "application/json" };
  const { value } = await requestJson("v1/realtime/client_secrets", { method: "POST", headers, body });
  const address = new URL("v1/realtime?intent=transcription", BASE);
  address.protocol = address.protocol.replace("http", "ws");
  const socket = new WebSocket(address, ["realtime", `openai-insecure-api-key.${value}`]);
  socket.onmessage = ({ data }) => onEvent(JSON.parse(data));
  socket.onclose = ({ code }) => onClose(code);
  const tell = (event) => socket.readyState === WebSocket.OPEN && socket.send(JSON.stringify(event));
  return {
    send(samples) {
      if (socket.bufferedAmount > MAX_UNSENT_BYTES) socket.close(1000);
      else tell({ type: "input_audio_buffer.append", audio: base64(new Uint8Array(samples.buffer)) });
    },
    commit: () => tell({ type: "input_audio_buffer.commit" }),
    close: () => socket.close(1000),
  };
}

function base64(bytes) {
  return btoa(String.fromCharCode(...bytes));
}
