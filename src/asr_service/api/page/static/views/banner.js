// Lines above everything else while something is wrong with the whole page: the connection, the key or the store.

import { connection } from "../core/connection.js";
import { h, icon } from "../core/dom.js";
import { t } from "../core/i18n.js";
import { ICONS } from "../core/icons.js";

/** Returns {element, update, close}. `askForKey` opens the dialog for the key. */
export function pageBanner({ queue, library }, askForKey) {
  const element = h("div", { class: "banners", role: "status" });

  function update() {
    const lost = connection.isLost ? banner(t("banner.lost")) : null;
    const held =
      queue.isHeld && !connection.isLost
        ? banner(t("banner.key"), h("button", { type: "button", onclick: askForKey }, t("key.enter")))
        : null;
    const full = library.isLasting && library.hasUnsaved ? banner(t("banner.full")) : null;
    element.replaceChildren(...[lost, held, full].filter(Boolean));
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
