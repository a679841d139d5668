// The state of a recording in words, and as a share.

import { connection } from "../core/connection.js";
import { clock, percent, roughly } from "../core/format.js";
import { t } from "../core/i18n.js";
import { isElsewhere, secondsToWait } from "../queue/item.js";
import { problemText } from "./problems.js";

const BUSY = new Set([429, 503]);
const KEY_LIMITS = new Set(["audio_limit_reached", "concurrency_limit_reached", "job_limit_reached"]);

/** Return the words of an item's state, such as `Transcribing 40% · about 2 minutes left`. */
export function statusText(item, queue) {
  if (item.state === "waiting") return waitingText(item, queue);
  if (isElsewhere(item)) return t("status.elsewhere");
  if (item.state === "uploading") return withTimeLeft(t("status.uploading", { share: percent(item.sentShare) }), item, queue);
  if (item.state === "running") return withTimeLeft(runningText(item), item, queue);
  if (item.state === "failed") return problemText(item.problem);
  return t(`status.${item.state}`);
}

/** Return the share that is done of the step that is under way, or null if it is not known. */
export function shareDone(item) {
  if (isElsewhere(item)) return null;
  if (item.state === "uploading") return item.sentShare;
  // Until the first segment is known, nothing is known of the pace.
  if (item.state === "running" && item.durationS && item.doneS) return Math.min(1, item.doneS / item.durationS);
  return null;
}

function waitingText(item, queue) {
  if (connection.isLost) return t("status.lost");
  if (queue.isHeld) return t("status.held");
  const seconds = secondsToWait(item);
  if (!seconds) return t("status.waiting");
  const { problem } = item;
  const time = roughly(seconds);
  if (problem?.code === "not_ready") return t("status.starting", { time });
  if (KEY_LIMITS.has(problem?.code)) return t("status.limited", { time });
  return t(BUSY.has(problem?.status) ? "status.busy" : "status.again", { time });
}

function runningText(item) {
  const share = shareDone(item);
  if (share !== null) return t("status.running", { share: percent(share) });
  return item.doneS ? t("status.running_to", { time: clock(item.doneS) }) : t("status.running_first");
}

function withTimeLeft(text, item, queue) {
  const seconds = connection.isLost ? null : queue.secondsLeft(item);
  return seconds === null || seconds < 1 ? text : `${text} · ${t("status.left", { time: roughly(seconds) })}`;
}
