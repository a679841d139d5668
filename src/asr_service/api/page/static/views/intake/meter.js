// The level of the microphone, drawn as the last seconds of it.

import { h } from "../../core/dom.js";
import { t } from "../../core/i18n.js";

const STEP_PX = 4;
const BAR_PX = 2;
const STEP_MS = 60;

/** Returns {element, close}. It moves while `isMoving` returns true. */
export function levelMeter(level, isMoving) {
  const canvas = h("canvas", { class: "meter", role: "img", "aria-label": t("recorder.level") });
  const values = [];
  let frame = 0;
  let last = 0;

  function draw(now) {
    frame = requestAnimationFrame(draw);
    if (now - last < STEP_MS) return;
    last = now;
    if (isMoving()) values.push(level.value);
    paint(canvas, values);
  }

  frame = requestAnimationFrame(draw);
  return { element: canvas, close: () => cancelAnimationFrame(frame) };
}

function paint(canvas, values) {
  const { clientWidth: width, clientHeight: height } = canvas;
  const scale = devicePixelRatio;
  if (canvas.width !== Math.round(width * scale)) Object.assign(canvas, { width: width * scale, height: height * scale });
  const steps = Math.ceil(width / STEP_PX);
  values.splice(0, Math.max(0, values.length - steps));
  const context = canvas.getContext("2d");
  context.setTransform(scale, 0, 0, scale, 0, 0);
  context.clearRect(0, 0, width, height);
  context.fillStyle = getComputedStyle(canvas).color;
  for (let step = 0; step < steps; step += 1) {
    const value = values[values.length - 1 - step] ?? 0;
    const size = Math.max(BAR_PX, value * height);
    context.fillRect(width - (step + 1) * STEP_PX, (height - size) / 2, BAR_PX, size);
  }
}
