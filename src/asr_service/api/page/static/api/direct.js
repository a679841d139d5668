// A transcription on one connection, for a service without jobs: lines arrive while the rest is transcribed.

import { sendForm } from "./client.js";
import { recordingForm } from "./form.js";
import { Problem } from "./problem.js";

/** Resolves to the transcript with its segments. Throws Problem. */
export async function transcribe(blob, options, { signal, onSent, onSegment }) {
  const form = recordingForm(blob, { ...options, response_format: "ndjson" });
  const segments = [];
  let read = 0;
  let last = null;
  const onText = (text) => {
    for (let end = text.indexOf("\n", read); end >= 0; end = text.indexOf("\n", read)) {
      const line = JSON.parse(text.slice(read, end));
      read = end + 1;
      if (line.type === "segment") onSegment(segments[segments.push(line) - 1]);
      else last = line;
    }
  };
  onText(await sendForm("transcribe", form, { signal, onSent, onText }));
  if (last?.type === "error") throw new Problem(500, last.error.code, last.error.message);
  if (last?.type !== "transcript") throw Problem.lost();
  return { ...last, segments };
}
