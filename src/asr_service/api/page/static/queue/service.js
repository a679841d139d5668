// How recordings are sent: as jobs, where the service keeps them, or else on one connection each.

import { transcribe } from "../api/direct.js";
import { followJob, jobTranscript, removeJob, submitJob } from "../api/jobs.js";

const byJobs = Object.freeze({
  send: async (blob, item, { signal, onSent }) => ({ job: await submitJob(blob, item.options, item.key, { signal, onSent }) }),
  follow: followJob,
  transcript: jobTranscript,
  remove: removeJob,
});

const directly = Object.freeze({
  send: async (blob, item, reports) => ({ transcript: await transcribe(blob, item.options, reports) }),
  follow: null,
  transcript: null,
  remove: async () => {},
});

export function serviceFor(config) {
  return config.hasJobs ? byJobs : directly;
}
