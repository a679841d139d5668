// The queue: sends recordings, a few at a time, and keeps what becomes of them.

import { connection } from "../core/connection.js";
import { Problem } from "../api/problem.js";
import { isElsewhere, isOpen, isWithTab, newItem, secondsToWait, startingState } from "./item.js";
import { Pace } from "./pace.js";
import { MAX_LOST, delayS } from "./retry.js";
import { TAB, afterEndOf } from "./tabs.js";

const MAX_SENDING = 2;
const GONE = new Set([404, 410]);

/**
 * Dispatches `added`, `changed` and `removed` with an item, `segment` with {item, segment}, `settled` with an item
 * that has come to its end while the page was open, and `keyneeded`.
 */
export class Queue extends EventTarget {
  #library;
  #service;
  #items = new Map();
  #aborts = new Map();
  #paces = new Map();
  #segments = new Map();
  #incoming = new Map();
  #watchedTabs = new Set();
  #timer = null;
  #isHeld = false;

  /** `service` sends recordings: see service.js. */
  constructor(library, service) {
    super();
    this.#library = library;
    this.#service = service;
    connection.addEventListener("found", () => this.#resume());
    library.addEventListener("changed", ({ detail }) => this.#reload(detail));
    library.addEventListener("stored", () => this.items.forEach((item) => this.#emit("changed", item)));
  }

  /** Load the recordings of earlier visits, and continue. */
  async restore() {
    for (const item of (await this.#library.list()).reverse()) {
      this.#items.set(item.id, item);
      this.#emit("added", item);
      this.#watchTab(item);
    }
    this.#pump();
  }

  /** All items, the newest first. */
  get items() {
    return [...this.#items.values()].reverse();
  }

  get(id) {
    return this.#items.get(id);
  }

  /** Whether closing the page now would interrupt an upload or a request, or lose a recording. */
  get isSending() {
    return this.#aborts.size > 0 || this.#incoming.size > 0;
  }

  /** Whether an item, or a part of it, is lost when the page closes. */
  isUnsaved(id) {
    return this.#library.isUnsaved(id);
  }

  /** Add a recording. It is shown and sent at once. Returns {id, stored}: `stored` resolves when the browser has it. */
  add(blob, about) {
    const item = newItem(blob, about);
    this.#incoming.set(item.id, blob);
    this.#items.set(item.id, item);
    this.#emit("added", item);
    this.#pump();
    return { id: item.id, stored: this.#store(item, blob) };
  }

  /** Note the duration that the browser found; the one of the service is better. */
  async noteDuration(id, durationS) {
    const item = this.#items.get(id);
    if (item && item.durationS === null) await this.#update(item, { durationS });
  }

  /** Add a recording that is refused without being sent. Returns {id, stored}. */
  refuse(blob, about, problem) {
    const item = { ...newItem(blob, about), state: "failed", problem: problem.facts };
    this.#items.set(item.id, item);
    this.#emit("added", item);
    this.#emit("settled", item);
    return { id: item.id, stored: this.#library.save(item) };
  }

  async cancel(id) {
    const item = this.#items.get(id);
    if (!item || !isOpen(item)) return;
    const { jobId } = item;
    this.#aborts.get(id)?.abort(new DOMException("cancelled", "AbortError"));
    await this.#update(item, { state: "cancelled", jobId: null, resumeAt: null, problem: null });
    if (jobId) await this.#service.remove(jobId).catch(() => {});
    this.#pump();
  }

  /** Begin again with the same options. */
  async retry(id) {
    const item = this.#items.get(id);
    if (!item || isOpen(item)) return;
    const { jobId } = item;
    this.#segments.delete(id);
    this.#paces.delete(id);
    await this.#update(item, startingState());
    this.#pump();
    if (jobId) await this.#service.remove(jobId).catch(() => {});
  }

  async remove(id) {
    const item = this.#items.get(id);
    this.#aborts.get(id)?.abort(new DOMException("removed", "AbortError"));
    this.#items.delete(id);
    this.#emit("removed", item);
    await this.#library.remove(id);
    if (item.jobId) await this.#service.remove(item.jobId).catch(() => {});
    this.#pump();
  }

  /** Send nothing until `release`: the service wants a key. */
  hold() {
    this.#isHeld = true;
    this.dispatchEvent(new Event("keyneeded"));
  }

  release() {
    this.#isHeld = false;
    this.#pump();
  }

  get isHeld() {
    return this.#isHeld;
  }

  async audio(id) {
    return this.#incoming.get(id) ?? (await this.#library.audio(id)) ?? null;
  }

  /** The segments that are known so far, of a recording that is being transcribed. */
  segments(id) {
    return this.#segments.get(id) ?? [];
  }

  /** Seconds until the upload or the transcription is done, or null. */
  secondsLeft(item) {
    const pace = this.#paces.get(item.id);
    if (item.state === "uploading") return pace?.secondsLeft(1) ?? null;
    return item.state === "running" ? (pace?.secondsLeft(item.durationS) ?? null) : null;
  }

  /** Follow an open recording, so that its segments arrive while it is being transcribed. Returns what ends that. */
  follow(id) {
    const ended = new AbortController();
    if (this.#service.follow) this.#followUntil(id, ended.signal);
    return () => ended.abort();
  }

  async #followUntil(id, signal) {
    for (let failures = 0; !signal.aborted; failures += 1) {
      const item = this.#items.get(id);
      if (!item || !isOpen(item)) return;
      if (item.jobId && !this.#isHeld && !connection.isLost) {
        const start = this.segments(id).length;
        const onSegment = (segment) => this.#addSegment(item, segment);
        try {
          await this.#service.follow(item.jobId, start, { signal, onSegment });
          return;
        } catch {
          // The list of jobs shows what has become of it; here only the segments are missing.
        }
      }
      await new Promise((resolve) => setTimeout(resolve, 1000 * Math.min(10, 1 + failures)));
    }
  }

  /** Note what the service says about jobs: called by the watch of jobs. */
  async noteJob(item, job) {
    if (!this.#waitsFor(item, job.id)) return;
    const { audio_s_done: doneS, audio_s_total: totalS } = job.progress;
    if (job.status === "succeeded") {
      await this.#fetch(item, job.id);
    } else if (job.status === "failed") {
      await this.#fail(item, new Problem(500, job.error.code, job.error.message));
    } else if (job.status === "queued" || job.status === "running") {
      if (job.status === "running") this.#pace(item).note(doneS);
      await this.#update(item, { state: job.status, doneS, durationS: totalS ?? item.durationS });
    } else {
      await this.noteMissing(item, job.id);
    }
  }

  /** The service no longer has the job. */
  async noteMissing(item, jobId) {
    if (this.#waitsFor(item, jobId)) await this.#fail(item, new Problem(404, "job_not_found", ""));
  }

  /** Whether news of a job concern the item: it may have been cancelled, tried again or removed meanwhile. */
  #waitsFor(item, jobId) {
    return this.#items.has(item.id) && isOpen(item) && item.jobId === jobId;
  }

  async #fetch(item, jobId) {
    try {
      const transcript = await this.#service.transcript(jobId);
      if (this.#waitsFor(item, jobId)) await this.#finish(item, transcript);
    } catch (error) {
      if (!(error instanceof Problem) || error.isPassing || error.needsKey) throw error;
      if (GONE.has(error.status)) await this.noteMissing(item, jobId);
      else if (this.#waitsFor(item, jobId)) await this.#fail(item, error);
    }
  }

  #pump() {
    clearTimeout(this.#timer);
    if (this.#isHeld || connection.isLost) return;
    const isFree = (item) => item.state === "waiting" && !this.#aborts.has(item.id) && !isElsewhere(item);
    const waiting = [...this.#items.values()].filter(isFree);
    for (const item of waiting.filter((each) => !secondsToWait(each))) {
      if (this.#aborts.size >= MAX_SENDING) return;
      this.#send(item);
    }
    const next = Math.min(...waiting.map((item) => secondsToWait(item)).filter(Boolean));
    if (Number.isFinite(next)) this.#timer = setTimeout(() => this.#pump(), 1000 * next + 20);
  }

  /** The connection is back: what it interrupted need not wait. */
  #resume() {
    const waiting = this.items.filter(({ state, problem }) => state === "waiting" && problem?.status === 0);
    waiting.forEach((item) => Object.assign(item, { resumeAt: null }));
    this.#pump();
  }

  async #send(item) {
    const abort = new AbortController();
    this.#aborts.set(item.id, abort);
    try {
      await this.#attempt(item, abort.signal);
    } finally {
      this.#aborts.delete(item.id);
      this.#pump();
    }
  }

  /** If another tab sends the recording, take over what it leaves when it ends. */
  #watchTab(item) {
    if (!isElsewhere(item) || this.#watchedTabs.has(item.tab)) return;
    const { tab } = item;
    this.#watchedTabs.add(tab);
    afterEndOf(tab, () => this.#takeOver(tab));
  }

  async #takeOver(tab) {
    this.#watchedTabs.delete(tab);
    for (const stored of (await this.#library.list()).reverse()) {
      const item = this.#items.get(stored.id);
      // Of an upload or a request that the other tab had begun, nothing is left.
      const begun = { state: "waiting", tab: TAB, sentShare: 0, doneS: 0 };
      if (item && isWithTab(stored) && stored.tab === tab) await this.#update(item, { ...stored, ...begun });
    }
    this.#pump();
  }

  async #store(item, blob) {
    await this.#library.saveAudio(item.id, blob);
    this.#incoming.delete(item.id);
    if (this.#items.has(item.id)) await this.#library.save(item);
    else await this.#library.remove(item.id); // it was removed meanwhile
  }

  async #attempt(item, signal) {
    try {
      const blob = await this.audio(item.id);
      if (!blob) throw new Problem(0, "audio_missing", "");
      this.#paces.set(item.id, new Pace());
      await this.#update(item, { state: "uploading", attempts: item.attempts + 1, sentShare: 0, resumeAt: null });
      const outcome = await this.#service.send(blob, item, { signal, ...this.#reports(item) });
      this.#paces.set(item.id, new Pace()); // that of the upload says nothing about the work
      if (outcome.job) await this.#update(item, { jobId: outcome.job.id, state: "queued", problem: null });
      else await this.#finish(item, outcome.transcript);
    } catch (error) {
      if (!signal.aborted) await this.#noteFailure(item, error);
    }
  }

  #reports(item) {
    return {
      onSent: (share) => {
        this.#pace(item).note(share);
        Object.assign(item, { sentShare: share, problem: null });
        if (share >= 1 && !this.#service.follow) {
          this.#paces.set(item.id, new Pace());
          Object.assign(item, { state: "running", runningSince: Date.now() });
        }
        this.#emit("changed", item);
      },
      onSegment: (segment) => {
        this.#pace(item).note(segment.end);
        Object.assign(item, { state: "running", doneS: segment.end });
        this.#addSegment(item, segment);
        this.#emit("changed", item);
      },
    };
  }

  async #noteFailure(item, error) {
    const problem = error instanceof Problem ? error : new Problem(500, "page_failed", String(error));
    if (problem.needsKey) {
      await this.#update(item, { state: "waiting", attempts: item.attempts - 1 });
      this.hold();
    } else if (problem.isPassing && problem.code !== "audio_missing" && !(problem.isLost && item.attempts >= MAX_LOST)) {
      if (problem.isLost) connection.lose();
      const waitS = delayS(problem, item.attempts);
      const resumeAt = Date.now() + 1000 * waitS;
      await this.#update(item, { state: "waiting", resumeAt, waitS, problem: problem.facts, sentShare: 0 });
    } else {
      await this.#fail(item, problem);
    }
  }

  #addSegment(item, segment) {
    const known = this.#segments.get(item.id) ?? [];
    if (segment.id < known.length) return;
    this.#segments.set(item.id, [...known, segment]);
    this.dispatchEvent(new CustomEvent("segment", { detail: { item, segment } }));
  }

  #pace(item) {
    if (!this.#paces.has(item.id)) this.#paces.set(item.id, new Pace());
    return this.#paces.get(item.id);
  }

  async #finish(item, transcript) {
    await this.#library.saveTranscript(item.id, transcript);
    const { language, duration, text } = transcript;
    await this.#update(item, {
      state: "done",
      durationS: duration,
      doneS: duration,
      language,
      preview: text.slice(0, 200),
      problem: null,
    });
    this.#segments.delete(item.id);
    this.#emit("settled", item);
  }

  async #fail(item, problem) {
    await this.#update(item, { state: "failed", problem: problem.facts, resumeAt: null });
    this.#emit("settled", item);
  }

  async #update(item, changes) {
    const isNews = Object.entries(changes).some(([name, value]) => item[name] !== value);
    if (!isNews || !this.#items.has(item.id)) return;
    Object.assign(item, changes);
    this.#emit("changed", item);
    await this.#library.save(item);
  }

  /** Another tab has changed a recording. */
  async #reload(id) {
    const item = await this.#library.find(id);
    const known = this.#items.get(id);
    if (this.#aborts.has(id)) {
      if (item && isOpen(item)) return; // this tab knows better
      this.#aborts.get(id).abort(new DOMException("cancelled in another tab", "AbortError"));
    }
    if (!item && known) {
      this.#items.delete(id);
      this.#emit("removed", known);
    } else if (item && known) {
      Object.assign(known, item);
      this.#emit("changed", known);
    } else if (item) {
      this.#items.set(id, item);
      this.#emit("added", item);
    }
    if (item) this.#watchTab(item);
  }

  #emit(type, item) {
    this.dispatchEvent(new CustomEvent(type, { detail: item }));
  }
}
