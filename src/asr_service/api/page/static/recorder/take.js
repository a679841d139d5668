// Records the microphone. Each second goes to the database before the next one begins.

import { randomId } from "../core/ids.js";

const SLICE_MS = 1000;
const TYPES = ["audio/webm;codecs=opus", "audio/mp4", "audio/ogg;codecs=opus"];
const BITS_PER_S = 64_000;

/** Why there is no microphone: `insecure`, `missing`, `denied` or `failed`. */
export class NoMicrophone extends Error {
  constructor(reason) {
    super(reason);
    this.reason = reason;
  }
}

/** Dispatches `changed` when it pauses or continues, and `ended` when the microphone was taken away. */
export class Take extends EventTarget {
  #takes;
  #stream;
  #recorder;
  #about;
  #count = 0;
  #writing = Promise.resolve();
  #activeMs = 0;
  #resumedAt = null;
  #release = () => {};

  /** Ask for the microphone and begin. Throws NoMicrophone. */
  static async begin(takes) {
    const take = new Take();
    take.#takes = takes;
    take.#stream = await openMicrophone();
    await take.#start();
    return take;
  }

  get stream() {
    return this.#stream;
  }

  get isPaused() {
    return this.#recorder.state === "paused";
  }

  /** Seconds recorded so far, without pauses. */
  get seconds() {
    return (this.#activeMs + (this.#resumedAt === null ? 0 : performance.now() - this.#resumedAt)) / 1000;
  }

  pause() {
    this.#recorder.pause();
    this.#activeMs = 1000 * this.seconds;
    this.#resumedAt = null;
    this.dispatchEvent(new Event("changed"));
  }

  resume() {
    this.#recorder.resume();
    this.#resumedAt = performance.now();
    this.dispatchEvent(new Event("changed"));
  }

  /** End the recording. Resolves to {blob, seconds, begunAt}; `forget` then deletes what the database has of it. */
  async finish() {
    const { seconds } = this;
    await this.#stop();
    return { blob: await this.#takes.audio(this.#about), seconds, begunAt: this.#about.begunAt };
  }

  async discard() {
    await this.#stop();
    await this.forget();
  }

  async forget() {
    await this.#takes.remove(this.#about.id);
    this.#release();
  }

  async #start() {
    const mimeType = TYPES.find((type) => MediaRecorder.isTypeSupported(type));
    this.#recorder = new MediaRecorder(this.#stream, { mimeType, audioBitsPerSecond: BITS_PER_S });
    this.#about = { id: randomId(), type: (mimeType ?? this.#recorder.mimeType).split(";")[0], begunAt: Date.now() };
    this.#release = this.#takes.hold(this.#about.id);
    await this.#takes.begin(this.#about.id, this.#about.type);
    this.#recorder.ondataavailable = ({ data }) => this.#keep(data);
    this.#stream.getAudioTracks()[0].onended = () => this.dispatchEvent(new Event("ended"));
    this.#recorder.start(SLICE_MS);
    this.#resumedAt = performance.now();
  }

  #keep(chunk) {
    if (!chunk.size) return;
    const number = this.#count;
    const { seconds } = this;
    this.#count += 1;
    this.#writing = this.#writing.then(() => this.#takes.append(this.#about, number, chunk, seconds));
  }

  async #stop() {
    if (this.#recorder.state !== "inactive") {
      const stopped = new Promise((resolve) => (this.#recorder.onstop = resolve));
      this.#recorder.stop();
      await stopped;
    }
    this.#stream.getTracks().forEach((track) => track.stop());
    await this.#writing;
  }
}

async function openMicrophone() {
  if (!navigator.mediaDevices?.getUserMedia || typeof MediaRecorder === "undefined") {
    throw new NoMicrophone(globalThis.isSecureContext ? "missing" : "insecure");
  }
  try {
    // The model was trained on speech as it is; the browser's filters make quiet speakers worse.
    const audio = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: true };
    return await navigator.mediaDevices.getUserMedia({ audio });
  } catch (error) {
    const reasons = { NotAllowedError: "denied", SecurityError: "denied", NotFoundError: "missing" };
    throw new NoMicrophone(reasons[error.name] ?? "failed");
  }
}
