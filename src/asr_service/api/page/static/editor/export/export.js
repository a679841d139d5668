// Writes the edited transcript as files. The service lays them out (POST /format), so that subtitles keep its rules.

import { zip } from "../model/zip.js";

const TRIES = 3;
const MAX_WAIT_S = 10;
const ZIP_TYPE = "application/zip";

/** The formats: the suffix of the file, and how the service names the format; null for those that are written here. */
export const FORMATS = Object.freeze([
  { suffix: "txt", service: "text", type: "text/plain;charset=utf-8" },
  { suffix: "srt", service: "srt", type: "application/x-subrip;charset=utf-8" },
  { suffix: "vtt", service: "vtt", type: "text/vtt;charset=utf-8" },
  { suffix: "docx", service: null, type: "application/vnd.openxmlformats-officedocument.wordprocessingml.document" },
  { suffix: "tsv", service: "tsv", type: "text/tab-separated-values;charset=utf-8" },
  { suffix: "json", service: null, type: "application/json" },
]);

/** The formats that have a layout. */
export const SUBTITLES = new Set(["srt", "vtt"]);

export class Exporter {
  #transcript;
  #request;
  #layout;

  /**
   * `transcript` is the edited one. `request` sends a request to the service and throws if it is refused. `layout` has
   * the options of subtitles, such as `max_line_width`.
   */
  constructor(transcript, request, layout = {}) {
    this.#transcript = transcript;
    this.#request = request;
    this.#layout = layout;
  }

  /** Return the text, in paragraphs. */
  async text() {
    return (await this.#formatted("text")).text();
  }

  /** Return one file, {name, blob}: of the only format, or a ZIP of all. `suffixes` are those of FORMATS. */
  async file(name, suffixes) {
    const formats = FORMATS.filter(({ suffix }) => suffixes.includes(suffix));
    const blobs = [];
    for (const format of formats) blobs.push(await this.#blob(format, name));
    if (formats.length === 1) return { name: `${name}.${formats[0].suffix}`, blob: blobs[0] };
    const files = await Promise.all(
      blobs.map(async (blob, index) => ({
        name: `${name}.${formats[index].suffix}`,
        bytes: new Uint8Array(await blob.arrayBuffer()),
      })),
    );
    return { name: `${name}.zip`, blob: new Blob([zip(files)], { type: ZIP_TYPE }) };
  }

  async #blob({ suffix, service, type }, name) {
    if (service) return new Blob([await (await this.#formatted(service)).arrayBuffer()], { type });
    if (suffix === "json") return new Blob([JSON.stringify(this.#transcript, null, 2)], { type });
    const { writeDocx } = await import("./docx.js");
    return writeDocx({ title: name, text: await this.text(), speakers: this.#speakers() });
  }

  #speakers() {
    return [...new Set(this.#transcript.segments.map(({ speaker }) => speaker).filter(Boolean))];
  }

  async #formatted(format) {
    const { peaks, ...transcript } = this.#transcript;
    const query = new URLSearchParams({ response_format: format, ...(SUBTITLES.has(format) ? this.#layout : {}) });
    const send = () =>
      this.#request(`format?${query}`, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(transcript),
      });
    for (let attempt = 1; ; attempt += 1) {
      try {
        return await send();
      } catch (error) {
        if (attempt === TRIES || !error.isPassing) throw error;
        const wait_s = Math.min(error.retryAfterS ?? attempt, MAX_WAIT_S);
        await new Promise((resolve) => setTimeout(resolve, wait_s * 1000));
      }
    }
  }
}

/** Return a name for files: that of the recording without its suffix, and without characters that names cannot have. */
export function fileName(name) {
  const bare = name.replace(/\.[\p{L}\p{N}]{1,5}$/u, "");
  const safe = bare.replace(/[\\/:*?"<>|\p{Cc}]/gu, "_");
  return safe.replace(/^[.\s]+|[.\s]+$/gu, "") || "transcript";
}

/** Let the browser save a file. */
export function save({ name, blob }) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

/** Copy a text. A page without https:// has only the older way. */
export async function copyText(text) {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(text);
    return;
  }
  const field = document.createElement("textarea");
  field.value = text;
  document.body.append(field);
  field.select();
  const isCopied = document.execCommand("copy");
  field.remove();
  if (!isCopied) throw new Error("the browser does not copy");
}
