// Transcriptions as jobs: they continue when the page is closed. docs/api.md#jobs.

import { request, requestJson, sendForm } from "./client.js";
import { readEvents } from "./events.js";
import { recordingForm } from "./form.js";
import { Problem } from "./problem.js";

const PAGE = 100;
const OPEN = new Set(["queued", "running"]);

/** Send a recording. A repeated call with the same `key` gets the same job. */
export async function submitJob(blob, options, key, { signal, onSent }) {
  const form = recordingForm(blob, options);
  return JSON.parse(await sendForm("jobs", form, { headers: { "Idempotency-Key": key }, signal, onSent }));
}

/** Return the jobs with these ids, by id. A job that no longer exists is missing. */
export async function findJobs(ids, signal) {
  const found = await newestJobs(Math.ceil(ids.length / PAGE), signal);
  const jobs = new Map();
  for (const id of ids) {
    const job = found.get(id) ?? (await findJob(id, signal));
    if (job) jobs.set(id, job);
  }
  return jobs;
}

/** Return the newest jobs, by id: so many pages, as far as there are any. */
async function newestJobs(pages, signal) {
  const found = new Map();
  let after = "";
  for (let page = 0; page < pages; page += 1) {
    const { data, has_more: hasMore, last_id: last } = await requestJson(`jobs?limit=${PAGE}${after}`, { signal });
    data.forEach((job) => found.set(job.id, job));
    if (!hasMore) break;
    after = `&after=${last}`;
  }
  return found;
}

async function findJob(id, signal) {
  try {
    return await requestJson(`jobs/${id}`, { signal });
  } catch (error) {
    if (error instanceof Problem && error.status === 404) return null;
    throw error;
  }
}

/** Cancel the job if it is open, then delete it. A job that no longer exists is no error. */
export async function removeJob(id) {
  try {
    const response = await request(`jobs/${id}`, { method: "DELETE" });
    if (response.status === 200) await request(`jobs/${id}`, { method: "DELETE" });
  } catch (error) {
    if (!(error instanceof Problem && error.status === 404)) throw error;
  }
}

export function jobTranscript(id) {
  return requestJson(`jobs/${id}/transcript?response_format=json`);
}

/** Call `onSegment` for each segment from number `start` on. Resolves at the end of the job; throws Problem. */
export async function followJob(id, start, { signal, onSegment }) {
  const headers = start ? { "Last-Event-ID": String(start) } : {};
  const response = await request(`jobs/${id}/events`, { headers, signal });
  try {
    for await (const { event, data } of readEvents(response)) {
      if (event === "segment") onSegment(JSON.parse(data));
      if (event === "job" && !OPEN.has(JSON.parse(data).status)) return;
    }
  } catch (error) {
    if (signal.aborted) throw error;
  }
  throw Problem.lost();
}
