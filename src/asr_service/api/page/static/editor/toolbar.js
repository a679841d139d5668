// The buttons above the transcript.

import { h, icon } from "../core/dom.js";
import { ICONS } from "./icons.js";
import { isDoubtful } from "./model/timeline.js";

const DONE_MS = 2000;

/** Return {element, update}. `update` shows what can be undone and how much is edited. */
export function toolbar({ document: document_, commands, copy, t }) {
  const button = (name, action, keys, label = t(`editor.${name}`)) =>
    h(
      "button",
      {
        type: "button",
        class: "quiet icon-button",
        "aria-label": label,
        "aria-keyshortcuts": keys,
        title: `${label} (${keys.replace("Control", "Ctrl")})`,
        onclick: action,
      },
      icon(ICONS[name]),
    );
  const undo = button("undo", () => commands.undo(), "Control+Z");
  const redo = button("redo", () => commands.redo(), "Control+Y");
  const doubt = button("doubt", () => commands.doubtful(1), "U");
  const copied = h(
    "button",
    { type: "button", class: "quiet", onclick: copyNow },
    icon(ICONS.copy),
    h("span", {}, t("editor.copy")),
  );
  const element = h(
    "div",
    { class: "tools", role: "group", "aria-label": t("editor.tools") },
    undo,
    redo,
    button("edit", () => commands.edit(), "E"),
    button("split", () => commands.split(), "S"),
    button("merge", () => commands.merge(), "M"),
    button("remove", () => commands.remove(), "Delete"),
    button("find", () => commands.search(), "Control+F", t("editor.find_and_replace")),
    doubt,
    h(
      "span",
      { class: "tools-end" },
      copied,
      h(
        "button",
        { type: "button", class: "main", onclick: () => commands.download() },
        icon(ICONS.download),
        t("editor.download"),
      ),
    ),
  );
  doubt.hidden = !document_.segments.some(({ words }) => words.some(isDoubtful));
  update();
  return { element, update };

  function update() {
    undo.disabled = !document_.canUndo;
    redo.disabled = !document_.canRedo;
  }

  async function copyNow() {
    const label = copied.querySelector("span");
    try {
      await copy();
      label.textContent = t("editor.copied");
    } catch (problem) {
      label.textContent = t("editor.failed");
      copied.title = problem.message;
    }
    setTimeout(() => (label.textContent = t("editor.copy")), DONE_MS);
  }
}
