// Asks for the API key.

import { apiKey, canBeKey } from "../../api/key.js";
import { checkKey } from "../../api/options.js";
import { Problem } from "../../api/problem.js";
import { h } from "../../core/dom.js";
import { t } from "../../core/i18n.js";
import { openDialog } from "./dialog.js";
import { problemText } from "../problems.js";

let asking = null;

/** Ask until the service accepts a key. Resolves to whether there is one; a second call joins the first. */
export function askForKey() {
  asking ??= ask().finally(() => (asking = null));
  return asking;
}

async function ask() {
  const answer = await openDialog(t("key.title"), (close) => {
    const input = h("input", { id: "key", type: "password", autocomplete: "off", spellcheck: "false", autofocus: true, "aria-describedby": "key-hint key-error" });
    const error = h("p", { class: "error", id: "key-error", role: "alert" });
    const submit = async (event) => {
      event.preventDefault();
      error.textContent = "";
      const key = input.value.trim();
      if (!canBeKey(key)) {
        error.textContent = t("key.wrong");
        input.select();
        return;
      }
      apiKey.set(key);
      try {
        await checkKey();
        close(true);
      } catch (problem) {
        if (!(problem instanceof Problem)) throw problem;
        // A service that loads its model accepts the key, and says so in its own time.
        if (problem.status === 503) close(true);
        else error.textContent = problem.needsKey ? t("key.wrong") : problemText(problem);
        input.select();
      }
    };
    return [
      h("p", { id: "key-hint" }, t("key.hint")),
      h(
        "form",
        { onsubmit: submit },
        h("div", { class: "field" }, h("label", { for: "key" }, t("key.label")), input),
        error,
        h("div", { class: "dialog-buttons" }, h("button", { type: "submit", class: "main" }, t("key.use"))),
      ),
    ];
  });
  return answer === true;
}
