// One recording: its progress and the text so far, or its transcript in the editor.

import { h, icon, setText } from "../core/dom.js";
import { clock } from "../core/format.js";
import { t } from "../core/i18n.js";
import { ICONS } from "../core/icons.js";
import { isOpen } from "../queue/item.js";
import { itemButtons } from "./item_buttons.js";
import { languagesInWords } from "./languages.js";
import { mountTranscript } from "./transcript.js";
import { growingText } from "./growing_text.js";
import { progressBar } from "./progress.js";
import { statusText } from "./status.js";

const TICK_MS = 1000;

/** Returns {element, close, keys}. `keys` are the editor's shortcuts for the help. */
export function recordingView(item, { queue, library, actions }) {
  const name = h("h2", { class: "recording-name", dir: "auto", tabindex: -1 }, item.name);
  const facts = h("p", { class: "row-facts" });
  const words = h("span");
  const status = h("p", { class: "recording-status" }, icon(ICONS.warning), words);
  const bar = progressBar(() => t("row.progress", { name: item.name }));
  const buttons = itemButtons(item, actions, { isShort: false });
  const body = h("div", { class: "recording-body" });
  const element = h(
    "article",
    { class: "recording" },
    h("a", { class: "back", href: "#/" }, icon(ICONS.back), t("recording.back")),
    h("header", { class: "recording-head" }, h("div", {}, name, facts), buttons.element),
    status,
    bar.element,
    body,
  );
  let shown = null;
  let content = null;

  function update() {
    facts.textContent = [item.durationS ? clock(item.durationS) : null, languagesInWords(item)].filter(Boolean).join(" · ");
    setText(words, item.state === "done" ? "" : statusText(item, queue));
    status.hidden = item.state === "done";
    bar.update(item);
    buttons.update();
    const kind = item.state === "done" ? "done" : isOpen(item) ? "open" : item.state;
    if (kind === shown) return;
    shown = element.dataset.state = kind;
    content?.close();
    content = null;
    body.replaceChildren();
    if (kind === "open") content = growingText(item, queue, body);
    if (kind === "done") content = mountTranscript(item, { queue, library }, body);
  }

  const changed = ({ detail }) => detail.id === item.id && update();
  const removed = ({ detail }) => detail.id === item.id && actions.home();
  queue.addEventListener("changed", changed);
  queue.addEventListener("removed", removed);
  const tick = setInterval(() => isOpen(item) && update(), TICK_MS);
  update();
  return {
    element,
    focus: () => name.focus(),
    get keys() {
      return content?.keys ?? [];
    },
    close() {
      clearInterval(tick);
      queue.removeEventListener("changed", changed);
      queue.removeEventListener("removed", removed);
      content?.close();
    },
  };
}
