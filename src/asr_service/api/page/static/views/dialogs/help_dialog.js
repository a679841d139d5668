// Shows the keys.

import { h } from "../../core/dom.js";
import { t } from "../../core/i18n.js";
import { areKeysOn, turnKeys } from "../../core/keys.js";
import { openDialog } from "./dialog.js";

const PAGE_KEYS = [
  ["O", "keys.open"],
  ["R", "keys.record"],
  ["H", "keys.home"],
  ["?", "keys.help"],
];

/** `more` are further groups of keys: {title, keys: [[key, text]]}. */
export function openHelp(more = []) {
  const switchBox = h("input", { type: "checkbox", id: "keys-on", checked: areKeysOn(), onchange: () => turnKeys(switchBox.checked) });
  return openDialog(t("keys.title"), () => [
    group(t("keys.page"), PAGE_KEYS.map(([key, text]) => [key, t(text)])),
    ...more.map(({ title, keys }) => group(title, keys)),
    h("div", { class: "check" }, switchBox, h("label", { for: "keys-on" }, t("keys.on"))),
  ]);
}

function group(title, keys) {
  return h(
    "section",
    { class: "keys" },
    h("h3", {}, title),
    h("dl", {}, keys.map(([key, text]) => h("div", {}, h("dt", {}, h("kbd", {}, key)), h("dd", {}, text)))),
  );
}
