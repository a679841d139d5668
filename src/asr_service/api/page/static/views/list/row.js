// One recording in the list.

import { clock, when } from "../../core/format.js";
import { h, icon, setText } from "../../core/dom.js";
import { t } from "../../core/i18n.js";
import { ICONS } from "../../core/icons.js";
import { addressOf } from "../../core/router.js";
import { textLanguage } from "../../editor/model/text_language.js";
import { itemButtons } from "../item_buttons.js";
import { languagesInWords } from "../languages.js";
import { progressBar } from "../progress.js";
import { statusText } from "../status.js";

/** Returns {element, update}. `actions` has `cancel`, `retry` and `remove`, which get the item. */
export function recordingRow(item, queue, actions) {
  const link = h("a", { class: "row-name", dir: "auto", href: addressOf(item.id) });
  const facts = h("p", { class: "row-facts" });
  const words = h("span");
  const status = h("p", { class: "row-status" }, icon(ICONS.warning), words);
  const preview = h("p", { class: "row-preview", dir: "auto" });
  const bar = progressBar(() => t("row.progress", { name: item.name }));
  const buttons = itemButtons(item, actions, { isShort: true });
  const element = h(
    "li",
    { class: "row", "data-id": item.id },
    h("span", { class: "row-source" }, icon(item.source === "microphone" ? ICONS.microphone : ICONS.file)),
    h("div", { class: "row-head" }, link, facts),
    buttons.element,
    preview,
    status,
    bar.element,
  );

  function update() {
    setText(link, item.name);
    setText(facts, factsOf(item, queue.isUnsaved(item.id)));
    setText(preview, item.state === "done" ? item.preview || t("editor.empty") : "");
    setText(words, item.state === "done" ? "" : statusText(item, queue));
    preview.hidden = !preview.textContent;
    status.hidden = !words.textContent;
    preview.lang = textLanguage(item.options.task, item.language);
    bar.update(item);
    element.dataset.state = item.state;
    buttons.update();
  }

  update();
  return { element, update };
}

function factsOf(item, isUnsaved) {
  const language = item.state === "done" ? languagesInWords(item) : null;
  return [item.durationS ? clock(item.durationS) : null, language, when(item.addedAt), isUnsaved ? t("row.unsaved") : null].filter(Boolean).join(" · ");
}
