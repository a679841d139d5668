// The text of a recording while it is being transcribed.

import { h } from "../core/dom.js";
import { clock } from "../core/format.js";
import { t } from "../core/i18n.js";
import { textLanguage } from "../editor/model/text_language.js";

/** Show the segments in `place` as they arrive. Returns {close}. */
export function growingText(item, queue, place) {
  const hint = h("p", { class: "hint" }, t("recording.wait"));
  const lines = h("ol", { class: "lines", dir: "auto" });
  const stop = queue.follow(item.id);
  const add = (segment) => {
    hint.hidden = true;
    const lang = textLanguage(item.options.task, segment.language);
    lines.append(h("li", {}, h("span", { class: "line-time" }, clock(segment.start)), h("span", { lang }, segment.text.trim())));
  };
  const arrived = ({ detail }) => detail.item.id === item.id && add(detail.segment);
  queue.segments(item.id).forEach(add);
  queue.addEventListener("segment", arrived);
  place.append(hint, lines);
  return {
    close() {
      stop();
      queue.removeEventListener("segment", arrived);
    },
  };
}
