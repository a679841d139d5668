// The finished transcript, in the player and editor.

import { announcer } from "../core/announcer.js";
import { t } from "../core/i18n.js";
import { request } from "../api/client.js";
import { mountEditor } from "../editor/index.js";
import { problemText } from "./problems.js";

/** Show the transcript of an item in `place`. Returns {keys, close}. */
export function mountTranscript(item, { queue, library }, place) {
  let editor = null;
  let isClosed = false;
  Promise.all([library.transcript(item.id), queue.audio(item.id), library.edits(item.id)]).then(
    ([transcript, audio, saved]) => {
      if (!transcript || isClosed) return;
      editor = mountEditor(place, {
        transcript,
        audio,
        saved: saved ?? null,
        onChange: (edits) => library.saveEdits(item.id, edits),
        name: item.name,
        t,
        request: explainedRequest,
        announce: announcer.say,
      });
    },
  );
  return {
    get keys() {
      return editor ? [editor.keys] : [];
    },
    close() {
      isClosed = true;
      editor?.unmount();
    },
  };
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
