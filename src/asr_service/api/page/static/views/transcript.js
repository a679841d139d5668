// The finished transcript.

import { h } from "../core/dom.js";
import { clock } from "../core/format.js";
import { t } from "../core/i18n.js";

/** Show the transcript of an item in `place`. Returns {keys, close}. */
export function mountTranscript(item, { library }, place) {
  library.transcript(item.id).then((transcript) => {
    if (!transcript) return;
    const lines = transcript.segments.map((segment) =>
      h("li", {}, h("span", { class: "line-time" }, clock(segment.start)), h("span", { lang: segment.language }, segment.text.trim())),
    );
    place.append(
      h("div", { class: "recording-buttons" }, h("button", { type: "button", class: "main", onclick: () => save(item, transcript) }, t("recording.download"))),
      h("ol", { class: "lines", dir: "auto" }, lines),
    );
  });
  return { keys: [], close() {} };
}

function save(item, transcript) {
  const address = URL.createObjectURL(new Blob([`${transcript.text}\n`], { type: "text/plain" }));
  h("a", { href: address, download: `${item.name.replace(/\.\w+$/, "")}.txt` }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
