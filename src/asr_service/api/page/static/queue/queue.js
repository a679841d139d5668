// The queue: the recordings of this browser, and what becomes of them.

import { connection } from "../core/connection.js";
import { Problem } from "../api/problem.js";
import { isElsewhere, isOpen, isWithTab, newItem, startingState } from "./item.js";
import { Progress } from "./progress.js";
import { Sender } from "./sender.js";
import { TAB, afterEndOf } from "./tabs.js";

const GONE = new Set([404, 410]);

/**
 * Dispatches `added`, `changed` and `removed` with an item, `segment` with {item, segment}, `settled` with an item
 * that has come to its end while the page was open, and `keyneeded`.
 */
export class Queue extends EventTarget {
  #library;
  #service;
  #items = new Map();
  #progress = new Progress();
  #sender;
  #incoming = new Map();
  #watchedTabs = new Set();
  #isHeld = false;

  /** `service` sends recordings: see service.js. */
  constructor(library, service) {
    super();
    this.#library = library;
    this.#service = service;
    this.#sender = new Sender(service, this.#progress, {
      items: () => [...this.#items.values()],
      isHeld: () => this.#isHeld,
      audio: ({ id }) => this.audio(id),
      update: (item, changes) => this.#update(item, changes),
      finish: (item, transcript) => this.#finish(item, transcript),
      fail: (item, problem) => this.#fail(item, problem),
      addSegment: (item, segment) => this.#addSegment(item, segment),
      changed: (item) => this.#emit("changed", item),
      hold: () => this.hold(),
    });
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
    this.#sender.pump();
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
    return this.#sender.isSending() || this.#incoming.size > 0;
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
    this.#sender.pump();
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
    this.#sender.abort(id, "cancelled");
    await this.#update(item, { state: "cancelled", jobId: null, resumeAt: null, problem: null });
    if (jobId) await this.#service.remove(jobId).catch(() => {});
    this.#sender.pump();
  }

  /** Begin again, with the same options or with others. */
  async retry(id, options = null) {
    const item = this.#items.get(id);
    if (!item || isOpen(item)) return;
    const { jobId } = item;
    this.#progress.forget(id);
    await this.#update(item, { ...startingState(), options: options ?? item.options });
    this.#sender.pump();
    if (jobId) await this.#service.remove(jobId).catch(() => {});
  }

  async remove(id) {
    const item = this.#items.get(id);
    this.#sender.abort(id, "removed");
    this.#items.delete(id);
    this.#progress.forget(id);
    const removing = this.#library.remove(id); // the page may be closed as soon as the list says so
    this.#emit("removed", item);
    await removing;
    if (item.jobId) await this.#service.remove(item.jobId).catch(() => {});
    this.#sender.pump();
  }

  /** Send nothing until `release`: the service wants a key. */
  hold() {
    this.#isHeld = true;
    this.dispatchEvent(new Event("keyneeded"));
  }

  release() {
    this.#isHeld = false;
    this.#sender.pump();
  }

  get isHeld() {
    return this.#isHeld;
  }

  async audio(id) {
    return this.#incoming.get(id) ?? (await this.#library.audio(id)) ?? null;
  }

  /** The segments that are known so far, of a recording that is being transcribed. */
  segments(id) {
    return this.#progress.segments(id);
  }

  /** Seconds until the upload or the transcription is done, or null. */
  secondsLeft(item) {
    return this.#progress.secondsLeft(item);
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
      if (job.status === "running") this.#progress.note(item.id, doneS);
      else this.#progress.beginStep(item.id); // it may have been interrupted, and then waits again
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
    this.#sender.pump();
  }

  async #store(item, blob) {
    await this.#library.saveAudio(item.id, blob);
    this.#incoming.delete(item.id);
    if (this.#items.has(item.id)) await this.#library.save(item);
    else await this.#library.remove(item.id); // it was removed meanwhile
  }

  #addSegment(item, segment) {
    if (this.#progress.add(item.id, segment)) this.dispatchEvent(new CustomEvent("segment", { detail: { item, segment } }));
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
    this.#progress.forget(item.id);
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
    if (this.#sender.isSending(id)) {
      if (item && isOpen(item)) return; // this tab knows better
      this.#sender.abort(id, "cancelled in another tab");
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
