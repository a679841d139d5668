// What is known of recordings under way: the text so far, and how fast the work goes.

import { Pace } from "./pace.js";

export class Progress {
  #paces = new Map();
  #segments = new Map();

  /** Measure the pace of a new step: that of the upload says nothing about the work. */
  beginStep(id) {
    this.#paces.set(id, new Pace());
  }

  /** Note that `done` (seconds of audio, or a share) was reached now. */
  note(id, done) {
    if (!this.#paces.has(id)) this.beginStep(id);
    this.#paces.get(id).note(done);
  }

  /** Return the seconds until the upload or the transcription is done, or null. */
  secondsLeft({ id, state, durationS }) {
    const pace = this.#paces.get(id);
    if (state === "uploading") return pace?.secondsLeft(1) ?? null;
    return state === "running" ? (pace?.secondsLeft(durationS) ?? null) : null;
  }

  segments(id) {
    return this.#segments.get(id) ?? [];
  }

  /** Add a segment, and return whether it is new. */
  add(id, segment) {
    const known = this.segments(id);
    if (segment.id < known.length) return false;
    this.#segments.set(id, [...known, segment]);
    return true;
  }

  forget(id) {
    this.#paces.delete(id);
    this.#segments.delete(id);
  }
}
