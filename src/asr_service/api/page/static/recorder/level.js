// The loudness of a microphone, as numbers from 0 to 1.

const FLOOR_DB = -54;
/** Makes the differences between loud sounds visible. */
const CURVE = 1.8;

export class Level {
  #context = new AudioContext();
  #analyser = this.#context.createAnalyser();
  #samples = new Float32Array(1024);

  constructor(stream) {
    this.#analyser.fftSize = this.#samples.length;
    this.#context.createMediaStreamSource(stream).connect(this.#analyser);
  }

  /** The loudness of the last few hundredths of a second: 0 at -54 dB or below, 1 at full scale. */
  get value() {
    this.#analyser.getFloatTimeDomainData(this.#samples);
    const power = this.#samples.reduce((sum, sample) => sum + sample * sample, 0) / this.#samples.length;
    const decibels = 10 * Math.log10(Math.max(power, 1e-12)) + 3;
    return Math.min(1, Math.max(0, 1 - decibels / FLOOR_DB)) ** CURVE;
  }

  close() {
    return this.#context.close();
  }
}
