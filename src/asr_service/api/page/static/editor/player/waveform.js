// Draws the waveform of the recording, and the part of it that was played.

const BAR = 2; // pixels of a bar, and of the gap after it
const GAP = 1;
const QUIETEST = 0.04; // share of the height, so that silence is a line
const SEGMENT = 0.35; // share of the height for speech whose loudness is not known

/** Return the peaks of the service, {per_second, data}, as numbers from 0 to 255. */
export function decodePeaks(peaks) {
  return { perSecond: peaks.per_second, values: Uint8Array.from(atob(peaks.data), (byte) => byte.charCodeAt(0)) };
}

/** Return the height of each of `count` bars, from 0 to 1. The loudest part of the recording has the full height. */
export function barsOfPeaks({ perSecond, values }, duration, count) {
  const loudest = values.reduce((most, value) => Math.max(most, value), 1);
  const perBar = (duration * perSecond) / count;
  return Float32Array.from({ length: count }, (_, bar) => {
    const from = Math.floor(bar * perBar);
    let most = 0;
    for (let i = from; i < Math.max((bar + 1) * perBar, from + 1) && i < values.length; i += 1) {
      if (values[i] > most) most = values[i];
    }
    return most / loudest;
  });
}

/** Return bars where there is speech, for a recording without peaks. */
export function barsOfSegments(segments, duration, count) {
  const bars = new Float32Array(count);
  for (const { start, end } of segments) {
    bars.fill(SEGMENT, Math.floor((start / duration) * count), Math.ceil((end / duration) * count));
  }
  return bars;
}

export class Waveform {
  #canvas;
  #bars;
  #share = 0;
  #images = null; // the whole waveform in the two colours
  #headColour = "";
  #watch;
  #theme = matchMedia("(prefers-color-scheme: dark)");
  #refresh = () => this.refresh();

  /** `bars` returns the heights of a number of bars. */
  constructor(canvas, bars) {
    this.#canvas = canvas;
    this.#bars = bars;
    this.#watch = new ResizeObserver(this.#refresh);
    this.#watch.observe(canvas);
    this.#theme.addEventListener("change", this.#refresh);
  }

  /** Show the part up to `share` of the recording as played. */
  show(share) {
    const before = this.#playedPixels();
    this.#share = share;
    if (this.#playedPixels() !== before) this.#draw();
  }

  /** Draw all again, in other colours or another size. */
  refresh() {
    this.#images = null;
    this.#draw();
  }

  close() {
    this.#watch.disconnect();
    this.#theme.removeEventListener("change", this.#refresh);
  }

  #playedPixels() {
    return Math.round(this.#share * this.#canvas.width);
  }

  #draw() {
    const canvas = this.#canvas;
    const scale = devicePixelRatio || 1;
    const [width, height] = [Math.round(canvas.clientWidth * scale), Math.round(canvas.clientHeight * scale)];
    if (!width || !height) return;
    if (canvas.width !== width || canvas.height !== height) {
      [canvas.width, canvas.height] = [width, height];
      this.#images = null;
    }
    if (!this.#images) this.#paint(scale);
    const context = canvas.getContext("2d");
    const played = this.#playedPixels();
    context.clearRect(0, 0, width, height);
    context.drawImage(this.#images[0], 0, 0);
    if (played) {
      context.clearRect(0, 0, played, height);
      context.drawImage(this.#images[1], 0, 0, played, height, 0, 0, played, height);
    }
    context.fillStyle = this.#headColour;
    context.fillRect(Math.min(Math.max(played - scale, 0), width - 2 * scale), 0, 2 * scale, height);
  }

  #paint(scale) {
    const style = getComputedStyle(this.#canvas);
    this.#headColour = style.getPropertyValue("--wave-head");
    this.#images = ["--wave", "--wave-played"].map((name) => this.#image(style.getPropertyValue(name), scale));
  }

  #image(colour, scale) {
    const { width, height } = this.#canvas;
    const image = document.createElement("canvas");
    [image.width, image.height] = [width, height];
    const context = image.getContext("2d");
    context.fillStyle = colour;
    const step = (BAR + GAP) * scale;
    const count = Math.max(Math.floor(width / step), 1);
    this.#bars(count).forEach((share, bar) => {
      const tall = Math.max(share, QUIETEST) * height;
      context.fillRect((bar * width) / count, (height - tall) / 2, BAR * scale, tall);
    });
    return image;
  }
}
