// What a failure means for the person at the page, and what to do about it.

import { config } from "../core/config.js";
import { bytes, clock } from "../core/format.js";
import { hasText, t } from "../core/i18n.js";

/** Return a sentence or two. An error that has no text of its own is shown in the service's words. */
export function problemText({ code, message }) {
  const key = `problem.${code}`;
  if (!hasText(key)) return message || t("problem.unknown", { code });
  return t(key, { limit: bytes(config.maxUploadBytes), longest: clock(config.maxAudioS) });
}
