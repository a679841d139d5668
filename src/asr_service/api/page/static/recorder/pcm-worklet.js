// Runs in the audio thread: turns the microphone into signed 16-bit samples, in pieces of a tenth of a second.

const TARGET_RATE = 16_000;
const PIECES_PER_S = 10;

class Pcm extends AudioWorkletProcessor {
  // 48 kHz is reduced to 16 kHz by the mean of three samples each; a rate that is no multiple is sent as it is.
  #factor = sampleRate % TARGET_RATE === 0 ? sampleRate / TARGET_RATE : 1;
  #piece = new Int16Array(Math.round(sampleRate / this.#factor / PIECES_PER_S));
  #filled = 0;
  #sum = 0;
  #count = 0;

  process([[channel]]) {
    for (const sample of channel ?? []) {
      this.#sum += sample;
      this.#count += 1;
      if (this.#count === this.#factor) this.#add(this.#sum / this.#factor);
    }
    return true;
  }

  #add(sample) {
    this.#piece[this.#filled] = 32_767 * Math.max(-1, Math.min(1, sample));
    this.#filled += 1;
    this.#sum = this.#count = 0;
    if (this.#filled < this.#piece.length) return;
    this.port.postMessage(this.#piece.slice());
    this.#filled = 0;
  }
}

registerProcessor("pcm", Pcm);
