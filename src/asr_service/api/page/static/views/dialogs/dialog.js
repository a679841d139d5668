// Modal dialogs. The browser keeps the focus in them, closes them with Escape and gives the focus back.

import { h, icon } from "../../core/dom.js";
import { t } from "../../core/i18n.js";
import { ICONS } from "../../core/icons.js";

/** Open a dialog. Resolves to what `close` was called with, or to null if it was dismissed. */
export function openDialog(title, content) {
  return new Promise((resolve) => {
    let answer = null;
    const close = (value = null) => {
      answer = value;
      dialog.close();
    };
    const dialog = h(
      "dialog",
      { "aria-labelledby": "dialog-title", onclose: () => (dialog.remove(), resolve(answer)) },
      h(
        "div",
        { class: "dialog-head" },
        h("h2", { id: "dialog-title" }, title),
        h("button", { type: "button", class: "quiet", "aria-label": t("action.close"), onclick: () => close() }, icon(ICONS.close)),
      ),
      ...content(close),
    );
    document.body.append(dialog);
    dialog.showModal();
  });
}

/** Ask a question. Resolves to whether it was confirmed. */
export async function confirmDialog(title, text, confirm) {
  const answer = await openDialog(title, (close) => [
    h("p", {}, text),
    h(
      "div",
      { class: "dialog-buttons" },
      h("button", { type: "button", autofocus: true, onclick: () => close() }, t("action.keep")),
      h("button", { type: "button", class: "danger", onclick: () => close(true) }, confirm),
    ),
  ]);
  return answer === true;
}
