// One recording in the queue. Items are plain objects, because the database stores them.

import { randomId } from "../core/ids.js";
import { TAB } from "./tabs.js";

/**
 * `waiting`: not sent yet, or to be sent again. `uploading`. `queued` and `running`: a job of the service has it, or the
 * open request. `done`, `failed` and `cancelled` are final.
 */
export const OPEN_STATES = new Set(["waiting", "uploading", "queued", "running"]);

/** Failures that every attempt with the same recording and the same options has. */
const FINAL_PROBLEMS = new Set([
  "audio_missing",
  "audio_too_long",
  "decoder_failed",
  "empty_file",
  "invalid_parameter",
  "page_refused",
  "status_413",
  "undecodable_audio",
  "unsupported_audio",
  "upload_too_large",
]);

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
    tab: TAB,
    key: randomId(),
    jobId: null,
    attempts: 0,
    resumeAt: null,
    waitS: null,
    sentShare: 0,
    doneS: 0,
    runningSince: null,
    problem: null,
    language: null,
    preview: "",
  };
}

/** Return the seconds until an item may be sent again. If the clock was set back, that is now. */
export function secondsToWait({ resumeAt, waitS }, now = Date.now()) {
  const left = ((resumeAt ?? 0) - now) / 1000;
  return left > 0 && left <= (waitS ?? Infinity) + 1 ? left : 0;
}

/** Return whether another attempt could succeed: the page must have the recording, and the service must accept it. */
export function canRetry({ state, problem }) {
  return state === "cancelled" || (state === "failed" && !FINAL_PROBLEMS.has(problem.code));
}

/** Return whether an attempt with other languages could succeed: the service must accept the recording itself. */
export function canChangeLanguages(item) {
  return item.state === "done" || item.problem?.code === "invalid_parameter" || canRetry(item);
}

export function isOpen(item) {
  return OPEN_STATES.has(item.state);
}

/** Return whether the recording is still to be sent, or is being sent, by the tab `item.tab`. */
export function isWithTab(item) {
  return isOpen(item) && !item.jobId;
}

/** Return whether another tab is sending the recording. */
export function isElsewhere(item) {
  return isWithTab(item) && item.tab !== TAB;
}
