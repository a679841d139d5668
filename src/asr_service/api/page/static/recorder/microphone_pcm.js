// The samples of a microphone, as the realtime socket takes them.

import { FOLDER } from "../core/config.js";

const TARGET_RATE = 16_000;
const RATES = new Set([8000, 16_000, 24_000, 44_100, 48_000]);

export class MicrophonePcm {
  #context = new AudioContext();

  /** Samples per second of what `listen` gets, or null if the socket has no such rate. */
  get rate() {
    const { sampleRate } = this.#context;
    const rate = sampleRate % TARGET_RATE === 0 ? TARGET_RATE : sampleRate;
    return RATES.has(rate) ? rate : null;
  }

  /** Call `onPiece` with each tenth of a second, as an Int16Array, until `close`. */
  async listen(stream, onPiece) {
    await this.#context.audioWorklet.addModule(new URL("recorder/pcm-worklet.js", FOLDER));
    const node = new AudioWorkletNode(this.#context, "pcm", { numberOfOutputs: 0, channelCount: 1, channelCountMode: "explicit" });
    node.port.onmessage = ({ data }) => onPiece(data);
    this.#context.createMediaStreamSource(stream).connect(node);
  }

  close() {
    return this.#context.close();
  }
}
