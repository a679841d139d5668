// Sends recordings, a few at a time, and tries again what was interrupted.

import { connection } from "../core/connection.js";
import { Problem } from "../api/problem.js";
import { isElsewhere, secondsToWait } from "./item.js";
import { MAX_LOST, delayS } from "./retry.js";

const MAX_SENDING = 2;

export class Sender {
  #service;
  #progress;
  #queue;
  #aborts = new Map();
  #timer = null;

  /**
   * `queue` is what the queue does for its sender: `items` and `isHeld` return what they name; `audio`, `update`,
   * `finish`, `fail` and `addSegment` get an item; `changed` tells the views of an item; `hold` asks for a key.
   */
  constructor(service, progress, queue) {
    this.#service = service;
    this.#progress = progress;
    this.#queue = queue;
    connection.addEventListener("found", () => this.#resume());
  }

  /** Whether an upload or a request is under way, of any recording or of the one with `id`. */
  isSending(id = null) {
    return id === null ? this.#aborts.size > 0 : this.#aborts.has(id);
  }

  /** End the upload or the request of a recording, if there is one. */
  abort(id, reason) {
    this.#aborts.get(id)?.abort(new DOMException(reason, "AbortError"));
  }

  /** Send what may be sent now, and plan when to send the rest. */
  pump() {
    clearTimeout(this.#timer);
    if (this.#queue.isHeld() || connection.isLost) return;
    const isFree = (item) => item.state === "waiting" && !this.isSending(item.id) && !isElsewhere(item);
    const waiting = this.#queue.items().filter(isFree);
    for (const item of waiting.filter((each) => !secondsToWait(each))) {
      if (this.#aborts.size >= MAX_SENDING) return;
      this.#send(item);
    }
    const next = Math.min(...waiting.map((item) => secondsToWait(item)).filter(Boolean));
    if (Number.isFinite(next)) this.#timer = setTimeout(() => this.pump(), 1000 * next + 20);
  }

  /** The connection is back: what it interrupted need not wait. */
  #resume() {
    const waiting = this.#queue.items().filter(({ state, problem }) => state === "waiting" && problem?.status === 0);
    waiting.forEach((item) => Object.assign(item, { resumeAt: null }));
    this.pump();
  }

  async #send(item) {
    const abort = new AbortController();
    this.#aborts.set(item.id, abort);
    try {
      await this.#attempt(item, abort.signal);
    } finally {
      this.#aborts.delete(item.id);
      this.pump();
    }
  }

  async #attempt(item, signal) {
    const queue = this.#queue;
    try {
      const blob = await queue.audio(item);
      signal.throwIfAborted();
      if (!blob) throw new Problem(0, "audio_missing", "");
      this.#progress.beginStep(item.id);
      await queue.update(item, { state: "uploading", attempts: item.attempts + 1, sentShare: 0, resumeAt: null });
      const outcome = await this.#service.send(blob, item, { signal, ...this.#reports(item) });
      this.#progress.beginStep(item.id);
      if (outcome.job) await queue.update(item, { jobId: outcome.job.id, state: "queued", problem: null });
      else await queue.finish(item, outcome.transcript);
    } catch (error) {
      if (!signal.aborted) await this.#noteFailure(item, error);
    }
  }

  #reports(item) {
    return {
      onSent: (share) => {
        this.#progress.note(item.id, share);
        Object.assign(item, { sentShare: share, problem: null });
        if (share >= 1 && !this.#service.follow) {
          this.#progress.beginStep(item.id);
          Object.assign(item, { state: "running", runningSince: Date.now() });
        }
        this.#queue.changed(item);
      },
      onSegment: (segment) => {
        this.#progress.note(item.id, segment.end);
        Object.assign(item, { state: "running", doneS: segment.end });
        this.#queue.addSegment(item, segment);
        this.#queue.changed(item);
      },
    };
  }

  async #noteFailure(item, error) {
    const problem = error instanceof Problem ? error : new Problem(500, "page_failed", String(error));
    if (problem.needsKey) {
      await this.#queue.update(item, { state: "waiting", attempts: item.attempts - 1 });
      this.#queue.hold();
    } else if (problem.isPassing && problem.code !== "audio_missing" && !(problem.isLost && item.attempts >= MAX_LOST)) {
      if (problem.isLost) connection.lose();
      const waitS = delayS(problem, item.attempts);
      const resumeAt = Date.now() + 1000 * waitS;
      await this.#queue.update(item, { state: "waiting", resumeAt, waitS, problem: problem.facts, sentShare: 0 });
    } else {
      await this.#queue.fail(item, problem);
    }
  }
}
