/**
 * Return a form with a recording and the options that have a value. The file's name does not leave the browser. The
 * answer has the waveform, for the player.
 */
export function recordingForm(blob, options) {
  const form = new FormData();
  for (const [name, value] of Object.entries(options)) {
    if (value !== "" && value !== null && value !== undefined) form.append(name, String(value));
  }
  form.append("peaks", "true");
  form.append("file", blob, "recording");
  return form;
}
