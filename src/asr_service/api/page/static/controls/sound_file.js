// The sound of a recording as a file. One from the microphone is nowhere but in the browser.

import { fileName, save } from "../editor/export/export.js";

const SUFFIXES = Object.freeze({ "audio/mp4": "m4a", "audio/ogg": "ogg", "audio/webm": "webm" });

/** Let the browser save the sound of an item. */
export async function saveSound(item, queue) {
  const blob = await queue.audio(item.id);
  if (blob) save({ name: `${fileName(item.name)}.${SUFFIXES[blob.type] ?? "webm"}`, blob });
}
