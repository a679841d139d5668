// What the service says about itself in the page's HTML, and where it is.

const facts = document.documentElement.dataset;

/** The service's address as the browser sees it, with a slash at its end: this file is BASE/page/VERSION/core/config.js. */
export const BASE = new URL("../../../", import.meta.url);

/** The folder of the page's own files. */
export const FOLDER = new URL("../", import.meta.url);

export const config = Object.freeze({
  name: facts.name,
  note: facts.note,
  locales: facts.locales.split(" "),
  hasJobs: facts.jobs === "true",
  needsKey: facts.keys === "true",
  maxUploadBytes: Number(facts.maxUploadBytes),
  maxAudioS: Number(facts.maxAudioS),
});
