// Where recordings come in: drop, choose, paste or record.

import { config } from "../../core/config.js";
import { h, icon } from "../../core/dom.js";
import { bytes } from "../../core/format.js";
import { t } from "../../core/i18n.js";
import { ICONS } from "../../core/icons.js";
import { soundAndText } from "./figure.js";
import { ACCEPT } from "./files.js";

const MESSAGE_MS = 8000;

/** Returns {element, chooseFiles, setDropping, say}. `actions` has `addFiles(files, inFolders)` and `record`. */
export function intakePanel(actions, options) {
  const files = h("input", { type: "file", class: "unseen", multiple: true, accept: ACCEPT, tabindex: -1, "aria-hidden": "true" });
  const folder = h("input", { type: "file", class: "unseen", webkitdirectory: true, tabindex: -1, "aria-hidden": "true" });
  const isTouched = matchMedia("(pointer: coarse)").matches;
  const message = h("p", { class: "intake-message", id: "intake-message" });
  let timer = null;
  files.onchange = () => take(files, (chosen) => actions.addFiles(chosen, []));
  folder.onchange = () => take(folder, (chosen) => actions.addFiles([], chosen));

  const element = h(
    "section",
    { class: "intake", "aria-labelledby": "intake-title" },
    h(
      "div",
      { class: "panel" },
      soundAndText(),
      h("h2", { id: "intake-title" }, t("intake.title")),
      h("p", { class: "intake-lead" }, t(isTouched ? "intake.lead_touch" : "intake.lead", { limit: bytes(config.maxUploadBytes) })),
      h(
        "div",
        { class: "intake-ways" },
        h("button", { type: "button", class: "main", onclick: () => files.click() }, icon(ICONS.file), t("intake.choose")),
        h("button", { type: "button", class: "record", onclick: actions.record }, icon(ICONS.microphone), t("intake.record")),
        h("button", { type: "button", class: "folder", onclick: () => folder.click() }, icon(ICONS.folder), t("intake.folder")),
      ),
      message,
    ),
    options.element,
    files,
    folder,
  );
  return {
    element,
    chooseFiles: () => files.click(),
    setDropping: (isDropping) => element.classList.toggle("dropping", isDropping),
    /** Show a message. An acknowledgement disappears by itself, but keeps its place: the list must not move under a finger. */
    say(text, isPassing) {
      clearTimeout(timer);
      message.textContent = text;
      message.classList.remove("past");
      if (isPassing) timer = setTimeout(() => message.classList.add("past"), MESSAGE_MS);
    },
  };
}

function take(input, use) {
  const chosen = [...input.files];
  input.value = "";
  if (chosen.length) use(chosen);
}
