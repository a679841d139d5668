// The dialog that downloads the transcript in one or several formats.

import { h, icon } from "../../core/dom.js";
import { Exporter, FORMATS, fileName, save } from "./export.js";
import { ICONS } from "../icons.js";

const CHOSEN = "asr-formats";
const FIRST = ["srt"];

/** Return the dialog's element. `transcript` returns the edited one; `request` sends a request to the service. */
export function exportDialog({ transcript, request, name, t, announce }) {
  const chosen = remembered();
  const boxes = FORMATS.map(({ suffix }) => h("input", { type: "checkbox", value: suffix, checked: chosen.includes(suffix) }));
  const error = h("p", { class: "error", role: "alert" });
  const submit = h("button", { type: "submit", class: "main", autofocus: true }, icon(ICONS.download), t("editor.download"));
  const wanted = () => boxes.filter((box) => box.checked).map((box) => box.value);
  const dialog = h("dialog", { class: "export", "aria-labelledby": "editor-export-title" },
    h("div", { class: "dialog-head" }, h("h2", { id: "editor-export-title" }, t("editor.download_as"))),
    h("form", { onsubmit: send, onchange: changed },
      h("fieldset", { class: "formats" }, h("legend", { class: "unseen" }, t("editor.formats")),
        FORMATS.map(({ suffix }, index) =>
          h("label", { class: "check" }, boxes[index],
            h("span", {}, h("b", {}, `.${suffix}`), h("span", { class: "hint" }, t(`editor.format_${suffix}`)))))),
      error,
      h("div", { class: "dialog-buttons" },
        h("button", { type: "button", onclick: () => dialog.close() }, t("editor.close")), submit)),
  );
  changed();
  return dialog;

  function changed() {
    submit.disabled = !wanted().length;
    error.textContent = "";
  }

  async function send(event) {
    event.preventDefault();
    remember(wanted());
    submit.disabled = true;
    error.textContent = "";
    try {
      save(await new Exporter(transcript(), request).file(fileName(name), wanted()));
      announce(t("editor.downloaded"));
      dialog.close();
    } catch (problem) {
      error.textContent = problem.message || t("editor.failed");
    } finally {
      submit.disabled = false;
    }
  }
}

function remembered() {
  try {
    return JSON.parse(localStorage.getItem(CHOSEN)) ?? FIRST;
  } catch {
    return FIRST;
  }
}

function remember(suffixes) {
  try {
    localStorage.setItem(CHOSEN, JSON.stringify(suffixes));
  } catch {
    // A browser may keep nothing.
  }
}
