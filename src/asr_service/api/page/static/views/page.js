// The frame of the page: it shows the view of the address, and the same state in another language after a change.

import { announcer } from "../core/announcer.js";
import { h } from "../core/dom.js";
import { t } from "../core/i18n.js";
import { config } from "../core/config.js";
import { pageBanner } from "./banner.js";
import { pageHeader } from "./header.js";
import { homeView } from "./home.js";
import { optionsForm } from "./intake/options.js";
import { recordingView } from "./recording.js";

/** Returns an object whose `show(id)` shows a recording, or the first view for null. */
export function buildPage(root, { queue, library, actions }) {
  let parts = null;
  let view = null;
  let shownId = null;
  let isRouted = false;

  function frame() {
    const main = h("main", { id: "main", tabindex: -1 });
    const banner = pageBanner({ queue, library }, actions.askForKey);
    root.replaceChildren(
      h("a", { class: "skip", href: "#main", onclick: (event) => (event.preventDefault(), main.focus()) }, t("header.skip")),
      pageHeader({ ...actions, redraw }),
      banner.element,
      main,
      announcer.region,
    );
    return { main, banner, options: optionsForm() };
  }

  function open(id) {
    const item = id === null ? null : queue.get(id);
    view?.close();
    shownId = item ? id : null;
    view = item ? recordingView(item, { queue, library, actions }) : homeView({ queue, actions, options: parts.options });
    parts.main.replaceChildren(view.element);
    document.title = [item?.name, config.name || t("app.name")].filter(Boolean).join(" – ");
    actions.shown(view);
  }

  function redraw() {
    parts?.banner.close();
    parts = frame();
    actions.loadOffer();
    open(shownId);
  }

  return {
    start: redraw,
    show(id) {
      open(id);
      // When the page opens, the keyboard begins at its top.
      if (isRouted) (view.focus ?? (() => parts.main.focus()))();
      isRouted = true;
    },
    get view() {
      return view;
    },
    get options() {
      return parts.options;
    },
    updateBanner: () => parts.banner.update(),
  };
}
