// Speaks to screen readers. The region is in the page from the start.

import { h } from "./dom.js";

const region = h("div", { class: "unseen", role: "status", "aria-live": "polite" });

export const announcer = Object.freeze({
  region,
  say(text) {
    region.textContent = "";
    // A change in a later frame is announced even if the text is the same as before.
    requestAnimationFrame(() => region.append(h("p", {}, text)));
  },
});
