// The dialog that downloads the transcript in one or several formats.

import { h, icon } from "../../core/dom.js";
import { Exporter, FORMATS, SUBTITLES, fileName, save } from "./export.js";
import { ICONS } from "../icons.js";

const STORED = "asr-download";
const DEFAULTS = { formats: ["srt"], layout: { max_line_width: 42, max_line_count: 2 } };

/** Return the dialog's element. `transcript` returns the edited one; `request` sends a request to the service. */
export function exportDialog({ transcript, request, name, t, announce }) {
  const choice = remembered();
  const boxes = FORMATS.map(({ suffix }) =>
    h("input", { type: "checkbox", value: suffix, checked: choice.formats.includes(suffix) }),
  );
  const width = h("input", { type: "number", min: 8, max: 200, required: true, value: choice.layout.max_line_width });
  const lines = h("input", { type: "number", min: 1, max: 5, required: true, value: choice.layout.max_line_count });
  const layout = h(
    "fieldset",
    { class: "layout" },
    h("legend", {}, t("editor.subtitles")),
    h("label", {}, t("editor.line_width"), width),
    h("label", {}, t("editor.line_count"), lines),
  );
  const error = h("p", { class: "error", role: "alert" });
  const submit = h(
    "button",
    { type: "submit", class: "main", autofocus: true },
    icon(ICONS.download),
    t("editor.download"),
  );
  const dialog = h(
    "dialog",
    { class: "export", "aria-labelledby": "editor-export-title" },
    h("div", { class: "dialog-head" }, h("h2", { id: "editor-export-title" }, t("editor.download_as"))),
    h(
      "form",
      { onsubmit: send, onchange: changed },
      h(
        "fieldset",
        { class: "formats" },
        h("legend", { class: "unseen" }, t("editor.formats")),
        FORMATS.map(({ suffix }, index) =>
          h(
            "label",
            { class: "check" },
            boxes[index],
            h("span", {}, h("b", {}, `.${suffix}`), h("span", { class: "hint" }, t(`editor.format_${suffix}`))),
          ),
        ),
      ),
      layout,
      error,
      h(
        "div",
        { class: "dialog-buttons" },
        h("button", { type: "button", onclick: () => dialog.close() }, t("editor.close")),
        submit,
      ),
    ),
  );
  changed();
  return dialog;

  function wanted() {
    return boxes.filter((box) => box.checked).map((box) => box.value);
  }

  function changed() {
    submit.disabled = !wanted().length;
    layout.hidden = layout.disabled = !wanted().some((suffix) => SUBTITLES.has(suffix));
    error.textContent = "";
  }

  async function send(event) {
    event.preventDefault();
    const chosen = {
      formats: wanted(),
      layout: { max_line_width: Number(width.value), max_line_count: Number(lines.value) },
    };
    remember(chosen);
    submit.disabled = true;
    error.textContent = "";
    try {
      save(await new Exporter(transcript(), request, chosen.layout).file(fileName(name), chosen.formats));
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
    return { ...DEFAULTS, ...JSON.parse(localStorage.getItem(STORED)) };
  } catch {
    return DEFAULTS;
  }
}

function remember(choice) {
  try {
    localStorage.setItem(STORED, JSON.stringify(choice));
  } catch {
    // A browser may keep nothing.
  }
}
