// Recordings that come in: they are checked against the limits and added to the queue.

import { Problem } from "../api/problem.js";
import { config } from "../core/config.js";
import { t } from "../core/i18n.js";
import { droppedFiles, durationOf, looksLikeRecording } from "../views/intake/files.js";
import { requestOptions } from "../views/intake/options.js";

/**
 * Returns {addFiles, addRecording, addAgain}; `addRecording` resolves when the browser has stored the recording. `say`
 * tells a sentence to the person at the page, and `show` shows what was added.
 */
export function incomingRecordings(queue, say, show) {
  /** Add files; of those that were in folders, only what looks like a recording. */
  async function addFiles(files, inFolders) {
    const recordings = inFolders.filter(looksLikeRecording);
    const skipped = inFolders.length - recordings.length;
    const all = [...files, ...recordings];
    const added = all.map((file) => add(file, { name: file.name, source: "file" }));
    const told = [
      all.length ? t("intake.added", { count: all.length }) : "",
      skipped ? t("intake.skipped", { count: skipped }) : "",
    ];
    if (all.length) show();
    say(told.filter(Boolean).join(" "), { isPassing: !skipped });
    if (all.length) askToKeep();
    for (const [index, { id }] of added.entries()) if (all[index].size) await queue.noteDuration(id, await durationOf(all[index]));
  }

  function add(blob, about) {
    const whole = { options: requestOptions(), ...about };
    if (!blob.size) return queue.refuse(blob, whole, new Problem(422, "empty_file", ""));
    if (blob.size > config.maxUploadBytes) return queue.refuse(blob, whole, new Problem(413, "upload_too_large", ""));
    return queue.add(blob, whole);
  }

  function addRecording(blob, about) {
    const { stored } = add(blob, about);
    show();
    return stored;
  }

  /** Add a recording of the list once more. Resolves to its new id. */
  async function addAgain({ id, name, source, durationS }, options) {
    const blob = await queue.audio(id);
    const about = { name, source, durationS, options };
    return (blob ? add(blob, about) : queue.refuse(new Blob(), about, new Problem(0, "audio_missing", ""))).id;
  }

  return { addFiles, addRecording, addAgain };
}

/** Ask the browser not to delete the recordings when its disk is full. */
function askToKeep() {
  navigator.storage?.persist?.().catch(() => {});
}

const TEXT_FIELDS = "input, textarea, [contenteditable]";

/** Take files that are dropped or pasted anywhere on the page. `showDropping` gets whether files hover over it. */
export function takeDroppedAndPasted(addFiles, showDropping) {
  const hasFiles = (event) => event.dataTransfer.types.includes("Files");

  addEventListener("dragover", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    showDropping(true);
  });
  addEventListener("dragleave", (event) => event.relatedTarget || showDropping(false));
  addEventListener("drop", async (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    showDropping(false);
    const { files, inFolders } = await droppedFiles(event.dataTransfer);
    await addFiles(files, inFolders);
  });
  addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    // A cell of a spreadsheet is on the clipboard as a text and as a picture.
    const isText = event.clipboardData?.types.includes("text/plain") && event.target.closest(TEXT_FIELDS);
    if (!files.length || isText) return;
    event.preventDefault();
    addFiles(files, []);
  });
}
