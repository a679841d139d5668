// Plays the recording, and tells its listeners the time in every frame while it plays.

export const SPEEDS = Object.freeze([0.5, 0.75, 1, 1.25, 1.5, 1.75, 2]);

/** Events: `time` (also after a seek), `state` (play, pause, speed, length), `broken` (the browser cannot play it). */
export class Player extends EventTarget {
  #audio = new Audio();
  #url = null;
  #frame = 0;
  #duration;

  /** `source` is a Blob or an address. `duration` is the length in seconds, as the service measured it. */
  constructor(source, duration) {
    super();
    this.#duration = duration;
    this.#audio.preload = "metadata";
    this.#audio.preservesPitch = true;
    for (const type of ["play", "pause", "ended", "ratechange", "loadedmetadata"]) {
      this.#audio.addEventListener(type, () => this.#changed());
    }
    this.#audio.addEventListener("seeking", () => this.#tell("time"));
    this.#audio.addEventListener("error", () => this.#tell("broken"));
    if (source instanceof Blob) this.#url = URL.createObjectURL(source);
    this.#audio.src = this.#url ?? source;
  }

  get time() {
    return this.#audio.currentTime;
  }

  get duration() {
    return this.#duration || (Number.isFinite(this.#audio.duration) ? this.#audio.duration : 0);
  }

  get isPlaying() {
    return !this.#audio.paused && !this.#audio.ended;
  }

  get speed() {
    return this.#audio.playbackRate;
  }

  set speed(speed) {
    this.#audio.defaultPlaybackRate = speed;
    this.#audio.playbackRate = speed;
  }

  seek(time) {
    this.#audio.currentTime = Math.min(Math.max(time, 0), this.duration || time);
  }

  play() {
    this.#audio.play().catch(() => this.#changed()); // refused, or the seek before it was interrupted
  }

  pause() {
    this.#audio.pause();
  }

  toggle() {
    if (this.isPlaying) this.pause();
    else this.play();
  }

  /** Take the next faster (1) or slower (-1) of SPEEDS. */
  changeSpeed(step) {
    const at = SPEEDS.indexOf(this.speed);
    this.speed = SPEEDS[Math.min(Math.max(at + step, 0), SPEEDS.length - 1)];
  }

  close() {
    cancelAnimationFrame(this.#frame);
    this.#audio.pause();
    this.#audio.removeAttribute("src");
    this.#audio.load();
    if (this.#url) URL.revokeObjectURL(this.#url);
  }

  #changed() {
    this.#tell("state");
    this.#tell("time");
    cancelAnimationFrame(this.#frame);
    if (this.isPlaying) this.#frame = requestAnimationFrame(() => this.#tick());
  }

  #tick() {
    this.#tell("time");
    if (this.isPlaying) this.#frame = requestAnimationFrame(() => this.#tick());
  }

  #tell(type) {
    this.dispatchEvent(new Event(type));
  }
}
