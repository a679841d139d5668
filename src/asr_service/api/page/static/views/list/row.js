// One recording in the list.

import { clock, languageName, when } from "../../core/format.js";
import { h, icon, setText } from "../../core/dom.js";
import { t } from "../../core/i18n.js";
import { ICONS } from "../../core/icons.js";
import { addressOf } from "../../core/router.js";
import { canRetry, isOpen } from "../../queue/item.js";
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
  const buttons = h("div", { class: "row-actions" });
  const element = h(
    "li",
    { class: "row", "data-id": item.id },
    h("span", { class: "row-source" }, icon(item.source === "microphone" ? ICONS.microphone : ICONS.file)),
    h("div", { class: "row-head" }, link, facts),
    buttons,
    preview,
    status,
    bar.element,
  );
  let shownState = null;

  function update() {
    setText(link, item.name);
    setText(facts, factsOf(item, queue.isUnsaved(item.id)));
    setText(preview, item.state === "done" ? item.preview || t("editor.empty") : "");
    setText(words, item.state === "done" ? "" : statusText(item, queue));
    preview.hidden = !preview.textContent;
    status.hidden = !words.textContent;
    preview.lang = item.language ?? "";
    bar.update(item);
    if (item.state === shownState) return;
    shownState = element.dataset.state = item.state;
    const hadFocus = buttons.contains(document.activeElement);
    buttons.replaceChildren(...buttonsOf(item, actions));
    if (hadFocus) buttons.querySelector("button")?.focus();
  }

  update();
  return { element, update };
}

function factsOf(item, isUnsaved) {
  const language = item.language && item.state === "done" ? languageName(item.language) : null;
  return [item.durationS ? clock(item.durationS) : null, language, when(item.addedAt), isUnsaved ? t("row.unsaved") : null].filter(Boolean).join(" · ");
}

function buttonsOf(item, actions) {
  const button = (action, path) =>
    h("button", { type: "button", class: "quiet", "aria-label": t(`row.${action}`, { name: item.name }), title: t(`action.${action}`), onclick: () => actions[action](item) }, icon(path));
  if (isOpen(item)) return [button("cancel", ICONS.close)];
  return [canRetry(item) ? button("retry", ICONS.retry) : null, button("remove", ICONS.trash)].filter(Boolean);
}
