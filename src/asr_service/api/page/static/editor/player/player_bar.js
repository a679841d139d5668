// The controls of the player: play, the waveform, the time and the speed.

import { h, icon } from "../../core/dom.js";
import { ICONS } from "../icons.js";
import { clock } from "../model/clock.js";
import { SPEEDS } from "./player.js";
import { Waveform, barsOfPeaks, barsOfSegments, decodePeaks } from "./waveform.js";

/** Return {element, close}. `segments` returns the segments, which are drawn for a recording without peaks. */
export function playerBar({ player, peaks, segments, t }) {
  const play = h("button", { type: "button", class: "play main", onclick: () => player.toggle() });
  const time = h("span", { class: "player-time" });
  const canvas = h("canvas", { "aria-hidden": "true" });
  const place = h("input", {
    type: "range",
    min: 0,
    max: Math.max(player.duration, 0.1),
    step: "any",
    value: 0,
    "aria-label": t("editor.place"),
    oninput: () => player.seek(Number(place.value)),
  });
  const speed = h(
    "select",
    {
      class: "speed",
      "aria-label": t("editor.speed"),
      onchange: () => (player.speed = Number(speed.value)),
    },
    SPEEDS.map((each) => h("option", { value: each, selected: each === 1 }, `${each}×`)),
  );
  const message = h("p", { class: "hint broken", hidden: true }, t("editor.cannot_play"));
  const measured = peaks && decodePeaks(peaks);
  const bars = (count) =>
    measured?.values.length
      ? barsOfPeaks(measured, player.duration, count)
      : barsOfSegments(segments(), player.duration || 1, count);
  const waveform = new Waveform(canvas, bars);
  const element = h(
    "div",
    { class: "player", role: "group", "aria-label": t("editor.player") },
    play,
    h("div", { class: "wave" }, canvas, place),
    time,
    speed,
    message,
  );

  player.addEventListener("time", showTime);
  player.addEventListener("state", showState);
  player.addEventListener("broken", () => {
    message.hidden = false;
    play.disabled = true;
  });
  showState();
  showTime();
  return { element, close: () => waveform.close() };

  function showTime() {
    const now = `${clock(player.time)} / ${clock(player.duration)}`;
    waveform.show(player.duration ? player.time / player.duration : 0);
    if (document.activeElement !== place || player.isPlaying) place.value = player.time;
    if (time.textContent === now) return;
    time.textContent = now;
    place.setAttribute("aria-valuetext", clock(player.time));
  }

  function showState() {
    play.replaceChildren(icon(player.isPlaying ? ICONS.pause : ICONS.play));
    play.setAttribute("aria-label", t(player.isPlaying ? "editor.pause" : "editor.play"));
    place.max = Math.max(player.duration, 0.1);
    speed.value = String(player.speed);
  }
}
