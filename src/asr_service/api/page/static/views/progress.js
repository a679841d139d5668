// A progress bar. It is hidden unless a step is under way.

import { h } from "../core/dom.js";
import { isOpen } from "../queue/item.js";
import { shareDone } from "./status.js";

/** Returns {element, update}; `label` returns its name for screen readers. */
export function progressBar(label) {
  const bar = h("progress", { class: "bar", max: 1, hidden: true });

  function update(item) {
    bar.hidden = !isOpen(item) || item.state === "waiting";
    if (bar.hidden) return;
    bar.setAttribute("aria-label", label());
    bar.dataset.step = item.state;
    const share = shareDone(item);
    if (share === null) bar.removeAttribute("value");
    else bar.value = share;
  }

  return { element: bar, update };
}
