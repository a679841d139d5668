// The form for find and replace: its fields and buttons.

import { h, icon } from "../../core/dom.js";
import { ICONS } from "../icons.js";

/** Return {form, query, replacement, matchesCase, isWord, isRegular, count}. `actions` are called by the elements. */
export function findForm(t, actions) {
  const query = textField(t("editor.find"));
  const replacement = textField(t("editor.replace_with"));
  const [matchesCase, isWord, isRegular] = [box(actions.changed), box(actions.changed), box(actions.changed)];
  const count = h("output", { class: "count", "aria-live": "polite" });
  query.addEventListener("input", actions.typed);
  const lines = [
    [
      query,
      count,
      iconButton(t("editor.find_previous"), ICONS.previous, actions.previous),
      iconButton(t("editor.find_next"), ICONS.next, actions.next),
    ],
    [replacement, button(t("editor.replace"), actions.replace), button(t("editor.replace_all"), actions.replaceAll)],
    [
      labelled(matchesCase, t("editor.match_case")),
      labelled(isWord, t("editor.whole_words")),
      labelled(isRegular, t("editor.regular_expression")),
      button(t("editor.close"), actions.close, "small close"),
    ],
  ];
  const form = h(
    "form",
    {
      class: "find",
      role: "search",
      hidden: true,
      "aria-label": t("editor.find_and_replace"),
      onsubmit: (event) => event.preventDefault(),
      onkeydown: actions.pressed,
    },
    lines.map((line) => h("div", { class: "find-line" }, line)),
  );
  return { form, query, replacement, matchesCase, isWord, isRegular, count };
}

function textField(label) {
  const attributes = { type: "text", autocomplete: "off", spellcheck: "false", placeholder: label };
  return h("input", { ...attributes, "aria-label": label });
}

function box(onchange) {
  return h("input", { type: "checkbox", onchange });
}

function labelled(input, label) {
  return h("label", { class: "check" }, input, label);
}

function button(label, onclick, kind = "small") {
  return h("button", { type: "button", class: kind, onclick }, label);
}

function iconButton(label, path, onclick) {
  return h("button", { type: "button", class: "icon-button", title: label, "aria-label": label, onclick }, icon(path));
}
