// Lines above everything else while something is wrong with the whole page: the connection, the key or the store.

import { connection } from "../core/connection.js";
import { h, icon } from "../core/dom.js";
import { t } from "../core/i18n.js";
import { ICONS } from "../core/icons.js";

/** Returns {element, update, close}. `askForKey` opens the dialog for the key. */
export function pageBanner({ queue, library }, askForKey) {
  const element = h("div", { class: "banners", role: "status" });
  const lost = banner(t("banner.lost"));
  const held = banner(t("banner.key"), h("button", { type: "button", onclick: askForKey }, t("key.enter")));
  const full = banner(t("banner.full"));
  let shown = [];

  /** Show the lines that hold. Lines that stay are not shown again: a screen reader would repeat them. */
  function update() {
    const wanted = [];
    if (connection.isLost) wanted.push(lost);
    else if (queue.isHeld) wanted.push(held);
    if (library.isLasting && library.hasUnsaved) wanted.push(full);
    if (wanted.length === shown.length && wanted.every((line, index) => line === shown[index])) return;
    shown = wanted;
    element.replaceChildren(...shown);
  }

  const events = [
    [connection, "lost"],
    [connection, "found"],
    [queue, "keyneeded"],
    [library, "stored"],
  ];
  events.forEach(([source, type]) => source.addEventListener(type, update));
  update();
  return {
    element,
    update,
    close: () => events.forEach(([source, type]) => source.removeEventListener(type, update)),
  };
}

function banner(text, ...more) {
  return h("p", { class: "banner" }, icon(ICONS.warning), h("span", {}, text), ...more);
}
