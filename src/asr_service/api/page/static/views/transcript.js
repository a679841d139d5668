// The finished transcript, in the player and editor.

import { announcer } from "../core/announcer.js";
import { h, icon } from "../core/dom.js";
import { t } from "../core/i18n.js";
import { ICONS } from "../core/icons.js";
import { request } from "../api/client.js";
import { mountEditor } from "../editor/index.js";
import { SharedEdits } from "../store/shared_edits.js";
import { problemText } from "./problems.js";
import { warningTexts } from "./warnings.js";

/** Show the transcript of an item in `place`. Returns {keys, close}. */
export function mountTranscript(item, { queue, library }, place) {
  let editor = null;
  let shared = null;
  let isClosed = false;
  Promise.all([library.transcript(item.id), queue.audio(item.id), library.edits(item.id)]).then(
    ([transcript, audio, saved]) => {
      if (isClosed) return;
      if (!transcript) {
        place.append(missing(item, queue));
        return;
      }
      editor = mountEditor(place, {
        transcript,
        warnings: warningTexts(transcript),
        audio,
        saved: saved ?? null,
        onChange: ({ isLeaving }) => (isLeaving ? shared.leave() : shared.changed()),
        name: item.name,
        t,
        request: explainedRequest,
        announce: announcer.say,
      });
      shared = new SharedEdits(library, item.id, saved ?? null, editor);
    },
  );
  return {
    get keys() {
      return editor ? [editor.keys] : [];
    },
    close() {
      isClosed = true;
      editor?.unmount();
      shared?.close();
    },
  };
}

function missing(item, queue) {
  const retry = h("button", { type: "button", onclick: () => queue.retry(item.id) }, icon(ICONS.retry), t("action.retry"));
  return h("div", { class: "missing" }, h("p", {}, t("recording.missing")), retry);
}

/** Send a request. The message of its error is one for people. */
async function explainedRequest(path, init) {
  try {
    return await request(path, init);
  } catch (problem) {
    problem.message = problemText(problem);
    throw problem;
  }
}
