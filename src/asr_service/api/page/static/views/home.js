// The first view: where recordings come in, and the list of them.

import { h } from "../core/dom.js";
import { config } from "../core/config.js";
import { clock } from "../core/format.js";
import { t } from "../core/i18n.js";
import { intakePanel } from "./intake/intake.js";
import { recordingList } from "./list/list.js";
import { recorderPanel } from "./intake/recorder.js";

/** Returns {element, close, intake, showTake, showFound, showNewest}. */
export function homeView({ queue, actions, options }) {
  const intake = intakePanel(actions, options);
  const list = recordingList(queue, actions);
  const place = h("div", { class: "take-place" });
  const found = h("div", { class: "found" });
  const note = config.note ? h("p", { class: "note" }, config.note) : null;
  const element = h("div", { class: "home" }, h("div", { class: "in" }, note, found, place, intake.element), list.element);
  let recorder = null;

  /** Show the recording that is being made; null if there is none. */
  function showTake(take, live) {
    recorder?.close();
    recorder = take ? recorderPanel(take, live, actions) : null;
    const wasRecording = intake.element.classList.contains("recording");
    place.replaceChildren(...(recorder ? [recorder.element] : []));
    intake.element.classList.toggle("recording", recorder !== null);
    // The button that was pressed is gone; its successor gets the focus.
    if (wasRecording !== (recorder !== null)) (recorder ?? intake).element.querySelector(recorder ? ".main" : ".record").focus({ preventScroll: true });
  }

  /** Offer the recordings that were not finished. */
  function showFound(takes) {
    found.replaceChildren(...takes.map((each) => foundTake(each, actions)));
  }

  return {
    element,
    intake,
    showTake,
    showFound,
    showNewest: list.reveal,
    close() {
      recorder?.close();
      list.close();
    },
  };
}

function foundTake(take, actions) {
  return h(
    "p",
    { class: "banner", role: "status" },
    h("span", {}, t("recorder.found", { time: clock(take.seconds) })),
    h("button", { type: "button", class: "main", onclick: () => actions.keepTake(take) }, t("recorder.keep_found")),
    h("button", { type: "button", onclick: () => actions.dropTake(take) }, t("recorder.discard")),
  );
}
