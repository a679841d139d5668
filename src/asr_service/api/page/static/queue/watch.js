// Asks the service about the open jobs: one request for all of them, soon after a job is new, then often while the page
// is seen and seldom else.

import { connection } from "../core/connection.js";
import { findJobs } from "../api/jobs.js";
import { Problem } from "../api/problem.js";
import { isOpen } from "./item.js";

const FIRST_MS = 250;
const SEEN_MS = 1000;
const HIDDEN_MS = 10_000;
const MOST_MS = 30_000;

/** Watch the jobs of a queue as long as the page is open. */
export function watchJobs(queue) {
  let timer = null;
  let isAsking = false;
  let waitMs = FIRST_MS;
  let pauseMs = 0;
  let known = new Set();

  const openItems = () => queue.items.filter((item) => item.jobId && isOpen(item));

  async function ask() {
    if (isAsking) return;
    isAsking = true;
    try {
      if (!queue.isHeld && !connection.isLost && openItems().length) await askOnce();
      waitMs = Math.min(SEEN_MS, 2 * waitMs);
      pauseMs = 0;
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      if (error.needsKey) queue.hold();
      else if (error.isLost) connection.lose();
      pauseMs = Math.min(MOST_MS, error.retryAfterS ? 1000 * error.retryAfterS : 2 * pauseMs + 1000);
    } finally {
      isAsking = false;
      plan();
    }
  }

  async function askOnce() {
    const asked = openItems().map((item) => [item, item.jobId]);
    const jobs = await findJobs(asked.map(([, id]) => id));
    const failures = [];
    for (const [item, id] of asked) {
      const job = jobs.get(id);
      const note = job ? queue.noteJob(item, job) : queue.noteMissing(item, id);
      await note.catch((error) => failures.push(error)); // the others do not wait for this one
    }
    if (failures.length) throw failures[0];
  }

  function plan() {
    clearTimeout(timer);
    const ids = openItems().map(({ jobId }) => jobId);
    if (ids.some((id) => !known.has(id))) waitMs = FIRST_MS;
    known = new Set(ids);
    if (ids.length) timer = setTimeout(ask, Math.max(pauseMs, document.hidden ? HIDDEN_MS : waitMs));
  }

  document.addEventListener("visibilitychange", () => document.hidden || ask());
  connection.addEventListener("found", ask);
  queue.addEventListener("added", plan);
  queue.addEventListener("changed", ({ detail }) => detail.jobId && detail.state === "queued" && plan());
  ask();
}
