// The panel of a recording that is being made: level, time, and what can be done with it.

import { announcer } from "../../core/announcer.js";
import { h, icon } from "../../core/dom.js";
import { clock, spoken } from "../../core/format.js";
import { t } from "../../core/i18n.js";
import { ICONS } from "../../core/icons.js";
import { Level } from "../../recorder/level.js";
import { liveTextPanel } from "./live_text.js";
import { levelMeter } from "./meter.js";

/** Returns {element, close}. `live` is its text while it is spoken, or null. `actions` has `finish` and `discard`. */
export function recorderPanel(take, live, actions) {
  const level = new Level(take.stream);
  const meter = levelMeter(level, () => !take.isPaused);
  const time = h("p", { class: "recorder-time", role: "timer", "aria-live": "off" });
  const pauseText = h("span");
  const pauseIcon = h("span", { class: "icon-place" });
  const pause = h("button", { type: "button", onclick: toggle }, pauseIcon, pauseText);
  const state = h("p", { class: "recorder-state" });
  const text = live && liveTextPanel(live);
  const element = h(
    "section",
    { class: "recorder", "aria-labelledby": "recorder-title" },
    h("h2", { id: "recorder-title", class: "unseen" }, t("recorder.title")),
    h("div", { class: "recorder-head" }, time, state),
    meter.element,
    text?.element,
    h(
      "div",
      { class: "recorder-buttons" },
      h("button", { type: "button", class: "main", onclick: actions.finish }, icon(ICONS.stop), t("recorder.finish")),
      pause,
      h("button", { type: "button", class: "quiet", onclick: actions.discard }, icon(ICONS.trash), t("recorder.discard")),
    ),
  );

  function toggle() {
    if (take.isPaused) take.resume();
    else take.pause();
    announcer.say(t(take.isPaused ? "recorder.paused" : "recorder.recording"));
  }

  function show() {
    const { seconds, isPaused } = take;
    time.textContent = clock(seconds);
    time.setAttribute("aria-label", spoken(seconds));
    element.classList.toggle("paused", isPaused);
  }

  function showState() {
    pauseIcon.replaceChildren(icon(take.isPaused ? ICONS.resume : ICONS.pause));
    pauseText.textContent = t(take.isPaused ? "recorder.resume" : "recorder.pause");
    state.textContent = t(take.isPaused ? "recorder.paused" : "recorder.recording");
    show();
  }

  take.addEventListener("changed", showState);
  const tick = setInterval(show, 200);
  showState();
  return {
    element,
    close() {
      clearInterval(tick);
      take.removeEventListener("changed", showState);
      text?.close();
      meter.close();
      level.close();
    },
  };
}
