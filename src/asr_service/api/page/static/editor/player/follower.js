// Lights the word that is spoken and keeps it on the screen. The place of that word is the place of the editor: the keys
// move it, and a recording that does not play has it too.

import { h, icon } from "../../core/dom.js";
import { ICONS } from "../icons.js";
import { wordAt } from "../model/timeline.js";

const MARGIN = 0.2; // share of the screen at its top and bottom that the spoken word does not enter

export class Follower {
  #document;
  #rows;
  #player;
  #editing;
  #place = null; // {id, index}
  #isFollowing = true;
  #scrolledAt = 0;
  #onScroll = (event) => this.#scrolled(event);

  constructor(document_, rows, player, editing, t) {
    this.#document = document_;
    this.#rows = rows;
    this.#player = player;
    this.#editing = editing;
    this.button = h(
      "button",
      { type: "button", class: "follow main", hidden: true, onclick: () => this.follow() },
      icon(ICONS.follow),
      t("editor.follow"),
    );
    if (document_.segments.length) this.#show({ position: 0, index: 0 });
    player?.addEventListener("time", () => this.#toTime());
    player?.addEventListener("state", () => this.#showButton());
    for (const type of ["wheel", "touchmove"]) addEventListener(type, this.#onScroll, { passive: true });
  }

  close() {
    for (const type of ["wheel", "touchmove"]) removeEventListener(type, this.#onScroll);
  }

  /** The place of the word, {position, index}, or null if there is none. */
  get place() {
    const position = this.#place ? this.#document.position(this.#place.id) : -1;
    if (position < 0) return null;
    return { position, index: Math.min(this.#place.index, this.#document.segments[position].words.length - 1) };
  }

  /** Move to a word, and the player with it. `isSeen`: the word is on the screen, so that nothing scrolls. */
  goTo(place, { isSeen = false } = {}) {
    const segment = this.#document.segments[place.position];
    const word = segment.words[place.index];
    this.#isFollowing = true;
    this.#show(place);
    this.#rows.activate(segment.id);
    if (this.#player) this.#player.seek(word?.start ?? segment.start);
    if (!isSeen) this.#reveal(place);
    this.#showButton();
  }

  /** Scroll to the word again after the user has scrolled away. */
  follow() {
    this.#isFollowing = true;
    if (this.place) this.#reveal(this.place, { isSmooth: true });
    this.#showButton();
  }

  /** Light the word again after the rows have changed. */
  refresh() {
    if (this.#place) this.#rows.light(this.place);
  }

  #toTime() {
    const place = wordAt(this.#document.segments, this.#player.time);
    if (!place) {
      this.#rows.light(null);
      return;
    }
    const before = this.place;
    if (before?.position === place.position && before.index === place.index) {
      this.#rows.light(place);
      return;
    }
    this.#show(place);
    if (!this.#player.isPlaying || this.#editing.isOpen) return;
    this.#rows.activate(this.#place.id); // the keys concern what is heard; the focus stays, so nothing is read aloud
    if (this.#isFollowing) this.#reveal(place);
  }

  #show(place) {
    this.#place = { id: this.#document.segments[place.position].id, index: place.index };
    this.#rows.light(place);
  }

  #reveal(place, { isSmooth = false } = {}) {
    const { row } = this.#rows.parts(this.#document.segments[place.position].id);
    const { top, bottom } = (this.#rows.light(place) ?? row).getBoundingClientRect();
    const [first, last] = [innerHeight * MARGIN, innerHeight * (1 - MARGIN)];
    if (top >= first && bottom <= last) return;
    const isCalm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    row.scrollIntoView({ block: "center", behavior: isSmooth && !isCalm ? "smooth" : "instant" });
  }

  #scrolled() {
    if (!this.#player?.isPlaying) return;
    this.#isFollowing = false;
    this.#showButton();
  }

  #showButton() {
    this.button.hidden = this.#isFollowing || !this.#player?.isPlaying;
  }
}
