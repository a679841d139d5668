// Shows the text of a recording while it is spoken: what is final in full colour, what may change in grey.

import { h, setText } from "../../core/dom.js";
import { t } from "../../core/i18n.js";

const HINTS = Object.freeze({ open: "live.hint", interrupted: "live.interrupted", stopped: "live.stopped" });

/** Return a text with an ellipsis, which marks what may change for those who do not see the grey. */
export function unfinished(text) {
  return `${text.trim().replace(/[.。…]+$/u, "")}…`;
}

/** Returns {element, close}. The text is no live region: it would be read aloud into the microphone. */
export function liveTextPanel(live) {
  const text = h("div", { class: "live-text", dir: "auto", role: "log", "aria-live": "off", "aria-label": t("live.title"), tabindex: 0 });
  const hint = h("p", { class: "hint" });
  const element = h("div", { class: "live" }, text, hint);

  let isFollowing = true; // until the reader scrolls back
  text.onscroll = () => (isFollowing = text.scrollHeight - text.scrollTop - text.clientHeight < 40);

  function update() {
    const parts = live.turns.map(({ text: spoken, isFinal }) => h("span", { class: isFinal ? "final" : "open" }, isFinal ? spoken : unfinished(spoken)));
    text.replaceChildren(...parts.flatMap((part) => [part, " "]));
    if (isFollowing) text.scrollTop = text.scrollHeight;
    setText(hint, t(HINTS[live.state]));
  }

  live.addEventListener("changed", update);
  update();
  return {
    element,
    close: () => live.removeEventListener("changed", update),
  };
}
