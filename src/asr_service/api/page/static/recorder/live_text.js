// The text of a recording while it is spoken. It is a preview: the whole recording is transcribed when it is finished.

import { Problem } from "../api/problem.js";
import { openLive } from "../api/realtime.js";
import { MicrophonePcm } from "./microphone_pcm.js";

const BUFFER = "input_audio_buffer";
const TRANSCRIPTION = "conversation.item.input_audio_transcription";
const WAIT_MS = 3000;
const MAX_TRIES = 5;

/**
 * `turns` are the turns of the speaker, in their order: {text, isFinal}. The text of a turn that is not final may still
 * change. What is known of a turn stays if its session is lost. `state` is `open`, `interrupted` while the connection is
 * lost, or `stopped` when there is no more text to come although the recording goes on. Dispatches `changed`.
 */
export class LiveText extends EventTarget {
  state = "open";
  #take;
  #session;
  #pcm = new MicrophonePcm();
  #socket = null;
  #turns = new Map();
  #tries = 0;
  #isClosed = false;

  /** `options` are those of a request: the language and the terms are used. */
  constructor(take, options) {
    super();
    this.#take = take;
    this.#session = { audio: { input: { format: { type: "audio/pcm", rate: this.#pcm.rate }, transcription: spoken(options) } } };
    take.addEventListener("changed", () => take.isPaused && this.#socket?.commit());
  }

  get turns() {
    return [...this.#turns.values()].filter(({ text }) => text);
  }

  async start() {
    if (this.#pcm.rate === null) return;
    await this.#pcm.listen(this.#take.stream, (samples) => this.#take.isPaused || this.#socket?.send(samples));
    await this.#connect();
  }

  close() {
    this.#isClosed = true;
    this.#socket?.close();
    this.#pcm.close();
  }

  async #connect() {
    if (this.#isClosed) return;
    this.#tries += 1;
    try {
      const socket = await openLive(this.#session, { onEvent: (event) => this.#note(event), onClose: () => this.#again() });
      if (this.#isClosed) socket.close();
      else {
        this.#socket = socket;
        this.#become("open");
      }
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      if (error.isPassing) this.#again();
      else this.#stop();
    }
  }

  #again() {
    this.#socket = null;
    if (this.#isClosed) return;
    for (const [id, { text }] of this.#turns) this.#turns.set(id, { text, isFinal: true }); // nothing changes them any more
    if (this.#tries >= MAX_TRIES) {
      this.#stop();
      return;
    }
    this.#become("interrupted");
    setTimeout(() => this.#connect(), WAIT_MS);
  }

  #stop() {
    this.#isClosed = true;
    this.#become("stopped");
  }

  #become(state) {
    this.state = state;
    this.dispatchEvent(new Event("changed"));
  }

  #note(event) {
    const { type, item_id: id } = event;
    const known = this.#turns.get(id)?.text ?? "";
    if (type === `${BUFFER}.speech_started` || type === `${BUFFER}.committed`) {
      // In the order of the speech. The text of a turn may come before that of the turn before.
      if (!this.#turns.has(id)) this.#turns.set(id, { text: "", isFinal: false });
      return;
    }
    if (type === `${TRANSCRIPTION}.delta`) this.#turns.set(id, { text: known + event.delta, isFinal: false });
    else if (type === `${TRANSCRIPTION}.completed`) this.#turns.set(id, { text: event.transcript.trim(), isFinal: true });
    else if (type === `${TRANSCRIPTION}.failed`) this.#turns.delete(id);
    else return;
    this.#tries = 0;
    this.dispatchEvent(new Event("changed"));
  }
}

function spoken({ language, hotwords, initial_prompt: prompt }) {
  const keywords = hotwords.split(/[,，、\n]/).map((word) => word.trim()).filter(Boolean);
  return {
    ...(language && language !== "auto-per-chunk" ? { language } : {}),
    ...(keywords.length ? { keywords } : {}),
    ...(prompt ? { prompt } : {}),
  };
}
