// Whether the service can be reached. While it cannot, asks again and again, and at once when the browser is online.

import { FOLDER } from "./config.js";

const FIRST_WAIT_MS = 1000;
const LONGEST_WAIT_MS = 15_000;
const SERVER_ERROR = 500;

/** Dispatches `lost` and `found`. */
class Connection extends EventTarget {
  #timer = null;
  #wait = FIRST_WAIT_MS;

  constructor() {
    super();
    addEventListener("online", () => this.isLost && this.#probe());
  }

  get isLost() {
    return this.#timer !== null;
  }

  /** A request got no answer. */
  lose() {
    if (this.isLost) return;
    this.#wait = FIRST_WAIT_MS;
    this.#schedule();
    this.dispatchEvent(new Event("lost"));
  }

  #schedule() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#probe(), this.#wait);
    this.#wait = Math.min(2 * this.#wait, LONGEST_WAIT_MS);
  }

  async #probe() {
    try {
      // A file of the page: a proxy that publishes the page publishes it too, and it needs no key.
      const response = await fetch(new URL("icon.svg", FOLDER), { cache: "no-store" });
      if (response.status >= SERVER_ERROR) throw new Error("only a proxy answers");
    } catch {
      this.#schedule();
      return;
    }
    clearTimeout(this.#timer);
    this.#timer = null;
    this.dispatchEvent(new Event("found"));
  }
}

export const connection = new Connection();
