// One recording in the queue. Items are plain objects, because the database stores them.

import { randomId } from "../core/ids.js";

/**
 * `waiting`: not sent yet, or to be sent again. `uploading`. `queued` and `running`: a job of the service has it, or the
 * open request. `done`, `failed` and `cancelled` are final.
 */
export const OPEN_STATES = new Set(["waiting", "uploading", "queued", "running"]);

export function newItem(blob, { name, source, options, durationS = null }) {
  return {
    id: randomId(),
    name,
    source,
    options,
    durationS,
    size: blob.size,
    addedAt: Date.now(),
    ...startingState(),
  };
}

/** The fields of an item that a new attempt begins with. */
export function startingState() {
  return {
    state: "waiting",
    key: randomId(),
    jobId: null,
    attempts: 0,
    resumeAt: null,
    sentShare: 0,
    doneS: 0,
    runningSince: null,
    problem: null,
    language: null,
    preview: "",
  };
}

export function isOpen(item) {
  return OPEN_STATES.has(item.state);
}
