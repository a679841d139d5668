// Asks for other languages of a recording, such as after a wrong detection.

import { h } from "../../core/dom.js";
import { t } from "../../core/i18n.js";
import { languageFields } from "../intake/language_fields.js";
import { openDialog } from "./dialog.js";

/**
 * Resolves to the `language` and `task` that were chosen, or to null. `item` has the present ones, and `offer` is what the
 * service offers, or null if that is not known.
 */
export function askForLanguages({ options, state }, offer) {
  const chosen = { language: options.language, task: options.task };
  const fields = languageFields(chosen, (name, value) => (chosen[name] = value), "other");
  if (offer) fields.fill(offer);
  fields.elements[0].querySelector("select").autofocus = true;
  return openDialog(t("other.title"), (close) => [
    state === "done" ? h("p", {}, t("other.text")) : null,
    h(
      "form",
      { onsubmit: (event) => (event.preventDefault(), close(chosen)) },
      h("div", { class: "options-line" }, fields.elements),
      h("div", { class: "dialog-buttons" }, h("button", { type: "submit", class: "main" }, t("other.start"))),
    ),
  ]);
}
