// What the keys, the buttons and the mouse do.

import { neighbour, nextDoubtful, segmentAt } from "./model/timeline.js";
import { offsetsOf } from "./model/words.js";

const JUMP_S = 5;

export class Commands {
  /** `parts` are the parts of the editor; `player` is null without a recording. */
  constructor(parts) {
    Object.assign(this, parts);
  }

  get hasPlayer() {
    return this.player !== null;
  }

  toggle() {
    this.player?.toggle();
  }

  jump(step) {
    this.player?.seek(this.player.time + step * JUMP_S);
  }

  faster(step) {
    this.player?.changeSpeed(step);
  }

  /** Go to the next (1) or the previous (-1) word. */
  word(step) {
    const place = this.follower.place ?? this.#start();
    this.#goToWord(place && neighbour(this.document.segments, place, step));
  }

  /** Go to the first word of the next (1) or the previous (-1) segment. */
  segment(step) {
    const next = { position: this.#position() + step, index: 0 };
    if (this.document.segments[next.position]) this.#goTo(next);
  }

  edge(step) {
    const position = step < 0 ? 0 : this.document.segments.length - 1;
    if (this.document.segments[position]) this.#goTo({ position, index: 0 });
  }

  doubtful(step) {
    this.#goToWord(nextDoubtful(this.document.segments, this.follower.place ?? { position: 0, index: -1 }, step));
  }

  /** Edit the text of the active segment, at the word of the editor's place if that is in it. */
  edit() {
    const id = this.#active();
    const place = this.follower.place;
    if (!id) return;
    const isHere = place !== null && this.document.segments[place.position].id === id;
    this.editing.begin(id, isHere ? this.#offsetOf(place) : 0);
  }

  split() {
    const place = this.follower.place;
    if (!place) return;
    const second = this.document.splitBeforeWord(this.document.segments[place.position].id, place.index);
    if (second !== null) this.#goTo({ position: this.document.position(second), index: 0 });
  }

  merge() {
    const id = this.#active();
    if (id) this.document.merge(id);
    this.#focus();
  }

  remove() {
    const id = this.#active();
    if (id) this.document.remove(id);
    this.#focus();
  }

  speaker() {
    const id = this.#active();
    if (id) this.speakers.open(id);
  }

  undo() {
    this.editing.step(() => this.document.undo());
  }

  redo() {
    this.editing.step(() => this.document.redo());
  }

  search() {
    this.find.open();
  }

  download() {
    this.editing.end({ keepsFocus: true });
    this.exported.showModal();
  }

  /** Play from the word at the caret, or stop. */
  playHere() {
    const caret = this.editing.caret;
    if (!this.player || !caret) return;
    if (this.player.isPlaying) {
      this.player.pause();
      return;
    }
    const segment = this.document.segment(caret.id);
    const index = offsetsOf(segment.words).findLastIndex((offset) => offset <= caret.offset);
    this.player.seek(segment.words[Math.max(index, 0)]?.start ?? segment.start);
    this.player.play();
  }

  clicked(event) {
    const id = this.rows.idOf(event.target);
    if (!id || event.target.closest(".text-field, .speaker-form")) return;
    const place = this.rows.placeOf(event.target);
    if (event.target.closest(".speaker")) this.speakers.open(id);
    else if (event.target.closest(".time")) {
      this.follower.goTo({ position: this.document.position(id), index: 0 });
      this.player?.play();
    } else if (!event.target.closest("button") && getSelection().isCollapsed) {
      // The second click of a double-click must meet the same word.
      if (place) this.follower.goTo(place, { isSeen: true });
      else this.rows.activate(id);
      this.rows.parts(id).text.focus({ preventScroll: true });
    }
  }

  doubleClicked(event) {
    const place = this.rows.placeOf(event.target);
    const id = event.target.closest(".text") && this.rows.idOf(event.target);
    if (!id) return;
    getSelection().removeAllRanges();
    const start = place ? this.#offsetOf(place) : this.document.text(id).length;
    const word = place ? this.document.segment(id).words[place.index].text.trim() : "";
    // What is typed replaces the word, but not the marks around it. A mark within it, as in "don't", belongs to it.
    const [lead, bare] = /^(\p{P}*)(.*?)\p{P}*$/u.exec(word).slice(1);
    this.editing.begin(id, start + lead.length, start + lead.length + bare.length);
  }

  /** Go to a word and say it: the focus may stay on its segment, and then a screen reader says nothing. */
  #goToWord(place) {
    if (!place) return;
    this.#goTo(place);
    if (!this.player?.isPlaying) this.announce(this.document.segments[place.position].words[place.index].text.trim());
  }

  #goTo(place) {
    this.follower.goTo(place);
    this.#focus();
  }

  #focus() {
    this.rows.parts(this.rows.active)?.text.focus({ preventScroll: true });
  }

  #active() {
    return this.rows.active;
  }

  #position() {
    return this.document.position(this.rows.active);
  }

  #start() {
    const { segments } = this.document;
    return segments.length ? { position: this.player ? segmentAt(segments, this.player.time) : 0, index: 0 } : null;
  }

  /** Return the place of a word in the text of its segment. */
  #offsetOf({ position, index }) {
    const { words } = this.document.segments[position];
    const text = words.map((word) => word.text).join("");
    const lead = text.length - text.trimStart().length;
    const start = offsetsOf(words)[index] ?? text.length;
    const space = words[index] ? words[index].text.length - words[index].text.trimStart().length : 0;
    return Math.max(start + space - lead, 0);
  }
}
