// The list of recordings.

import { h } from "../../core/dom.js";
import { t } from "../../core/i18n.js";
import { isOpen } from "../../queue/item.js";
import { recordingRow } from "./row.js";

const TICK_MS = 1000;

/** Returns {element, reveal, close}. */
export function recordingList(queue, actions) {
  const rows = new Map();
  const list = h("ul", { class: "rows" });
  const element = h("section", { class: "list", "aria-labelledby": "list-title" }, h("h2", { id: "list-title" }, t("list.title")), list);

  const add = (item) => {
    rows.set(item.id, recordingRow(item, queue, actions));
    list.prepend(rows.get(item.id).element);
    element.hidden = false;
  };
  const remove = (item) => {
    const row = rows.get(item.id)?.element;
    if (!row) return;
    const hadFocus = row.contains(document.activeElement);
    const neighbour = row.nextElementSibling ?? row.previousElementSibling;
    row.remove();
    rows.delete(item.id);
    element.hidden = rows.size === 0;
    if (hadFocus) (neighbour?.querySelector(".row-name") ?? document.getElementById("main")).focus();
  };
  const on = {
    added: ({ detail }) => add(detail),
    changed: ({ detail }) => rows.get(detail.id)?.update(),
    removed: ({ detail }) => remove(detail),
  };
  // Times that are left run down although nothing else changes.
  const tick = setInterval(() => queue.items.filter(isOpen).forEach((item) => rows.get(item.id)?.update()), TICK_MS);

  element.hidden = true;
  queue.items.reverse().forEach(add);
  Object.entries(on).forEach(([type, listener]) => queue.addEventListener(type, listener));
  return {
    element,
    /** Scroll to the newest recording if it is not on the screen: on a telephone the list is below the panel. */
    reveal() {
      const row = list.firstElementChild;
      const { top, bottom } = row?.getBoundingClientRect() ?? { top: 0, bottom: 0 };
      if (top < 0 || bottom > innerHeight) row.scrollIntoView({ block: "center" });
    },
    close() {
      clearInterval(tick);
      Object.entries(on).forEach(([type, listener]) => queue.removeEventListener(type, listener));
    },
  };
}
