// Speaks to screen readers. One region is polite, one is assertive; both are in the page from the start.

import { h } from "./dom.js";

const polite = h("div", { class: "unseen", role: "status", "aria-live": "polite" });
const assertive = h("div", { class: "unseen", role: "alert", "aria-live": "assertive" });

export const announcer = Object.freeze({
  regions: [polite, assertive],
  say: (text) => speak(polite, text),
  interrupt: (text) => speak(assertive, text),
});

function speak(region, text) {
  region.textContent = "";
  // A change in a later frame is announced even if the text is the same as before.
  requestAnimationFrame(() => region.append(h("p", {}, text)));
}
