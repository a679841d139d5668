// Estimates how long the rest of a recording takes, from how fast its last minute went.

const WINDOW_MS = 60_000;
const LEAST_MS = 2000;

export class Pace {
  #samples = [];

  /**
   * Note that `done` (seconds of audio, or a share) was reached now. The wait for the first of it says nothing. If it is
   * less than before, the work was interrupted, and the measurement begins again.
   */
  note(done, now = performance.now()) {
    const last = this.#samples.at(-1)?.done ?? 0;
    if (done === last) return;
    if (done < last) this.#samples = [];
    this.#samples.push({ now, done });
    while (this.#samples.length > 2 && now - this.#samples[0].now > WINDOW_MS) this.#samples.shift();
  }

  /** Return the seconds until `total`, or null if too little is known. */
  secondsLeft(total, now = performance.now()) {
    const first = this.#samples[0];
    const last = this.#samples.at(-1);
    if (!first || last.done <= first.done || last.now - first.now < LEAST_MS || !total) return null;
    const perMs = (last.done - first.done) / (last.now - first.now);
    const sinceLast = now - last.now;
    return Math.max(0, ((total - last.done) / perMs - sinceLast) / 1000);
  }
}
