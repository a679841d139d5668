// Which tab sends a recording. One tab must not take what another one sends, unless that tab has ended.

import { randomId } from "../core/ids.js";

/** The id of this tab. A reload has another one. */
export const TAB = randomId();

const LOCK = "asr-tab-";
const ANSWER_MS = 1000;
const channel = typeof BroadcastChannel === "undefined" ? null : new BroadcastChannel("asr-tabs");

if (navigator.locks) {
  navigator.locks.request(LOCK + TAB, () => new Promise(() => {})); // held until the tab ends
} else if (channel) {
  // On plain HTTP the browser has no locks. A tab that ends without a message, as in a crash, does not answer either.
  channel.addEventListener("message", ({ data }) => data.asked === TAB && channel.postMessage({ alive: TAB }));
  addEventListener("pagehide", () => channel.postMessage({ ended: TAB }));
}

/** Call `work` when another tab has ended, at once if it has ended before. With locks, only one tab at a time does so. */
export async function afterEndOf(tab, work) {
  if (navigator.locks) await navigator.locks.request(LOCK + tab, work);
  else await endOf(tab).then(work);
}

function endOf(tab) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ANSWER_MS);
    channel?.addEventListener("message", function hear({ data }) {
      if (data.alive === tab) clearTimeout(timer);
      if (data.ended !== tab) return;
      channel.removeEventListener("message", hear);
      resolve();
    });
    channel?.postMessage({ asked: tab });
  });
}
