// What can be done with a recording, as buttons.

import { h, icon } from "../core/dom.js";
import { t } from "../core/i18n.js";
import { ICONS } from "../core/icons.js";
import { canChangeLanguages, canRetry, isOpen } from "../queue/item.js";

const PATHS = Object.freeze({
  cancel: ICONS.close,
  retry: ICONS.retry,
  languages: ICONS.languages,
  save: ICONS.download,
  remove: ICONS.trash,
});
/** What a row of the list has. */
const SHORT = new Set(["cancel", "retry", "remove"]);

/**
 * Returns {element, update}. `actions` has `cancel`, `retry`, `languages`, `save` and `remove`, which get the item. With
 * `isShort` there are fewer buttons, which have icons alone, and names for screen readers.
 */
export function itemButtons(item, actions, { isShort }) {
  const element = h("div", { class: isShort ? "row-actions" : "recording-buttons" });
  let shown = "";

  function button(action) {
    const names = isShort ? { "aria-label": t(`row.${action}`, { name: item.name }), title: t(`action.${action}`) } : {};
    const content = [icon(PATHS[action]), isShort ? null : t(`action.${action}`)];
    return h("button", { type: "button", class: "quiet", ...names, onclick: () => actions[action](item) }, content);
  }

  /** Show the buttons of the item's state. A button that stays is not replaced: a click on it would be lost. */
  function update() {
    const wanted = actionsOf(item).filter((action) => !isShort || SHORT.has(action));
    if (wanted.join() === shown) return;
    shown = wanted.join();
    const hadFocus = element.contains(document.activeElement);
    element.replaceChildren(...wanted.map(button));
    if (hadFocus) element.querySelector("button").focus();
  }

  return { element, update };
}

function actionsOf(item) {
  if (isOpen(item)) return ["cancel"];
  // The person at the page has the file of any other recording.
  const isOffered = { retry: canRetry(item), languages: canChangeLanguages(item), save: item.source === "microphone", remove: true };
  return Object.keys(isOffered).filter((action) => isOffered[action]);
}
