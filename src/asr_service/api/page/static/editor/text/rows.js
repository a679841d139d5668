// The list of segments: a row for each, with its time, speaker and words.
//
// Rows are in blocks. A block outside of the screen costs no layout (`content-visibility` in the style). A row begins with
// its text alone; it gets an element for each word when its block comes near the screen. So a transcript of hours opens
// at once, and a browser can still search all of its text, and a screen reader read it.

import { h } from "../../core/dom.js";
import { clock } from "../model/clock.js";
import { isDoubtful } from "../model/timeline.js";
import { textOf } from "../model/words.js";

const BLOCK = 20; // rows
const LINE_CHARACTERS = 70; // for the height of a block that was not laid out yet
const [LINE_REM, ROW_REM] = [1.65, 0.6];

export class Rows {
  #document;
  #t;
  #rows = new Map(); // by the id of the segment: {row, time, speaker, text, isFilled}
  #ids = new WeakMap(); // of rows
  #lit = null; // the element of the lit word
  #active = null; // the id of the segment whose controls can be reached by Tab
  #nearness;
  #stop;

  /** `t` translates. `onChanged` is called after rows have changed. */
  constructor(document_, t, onChanged) {
    this.#document = document_;
    this.#t = t;
    this.element = h("div", { class: "segments", role: "list", "aria-label": t("editor.segments") });
    this.#nearness = new IntersectionObserver((entries) => this.#fillNear(entries), { rootMargin: "100% 0px" });
    for (let start = 0; start < document_.segments.length; start += BLOCK) this.element.append(this.#makeBlock(start));
    this.activate(document_.segments[0]?.id ?? null);
    this.#stop = document_.subscribe((change) => {
      this.#patch(change);
      onChanged(change);
    });
  }

  close() {
    this.#stop();
    this.#nearness.disconnect();
  }

  /** The id of the segment whose controls can be reached by Tab, and which the keys concern. */
  get active() {
    return this.#active;
  }

  activate(id) {
    if (id === this.#active && this.#rows.has(id)) return;
    this.#setTabStops(this.#active, -1);
    this.#active = id;
    this.#setTabStops(id, 0);
  }

  /** Return {row, time, speaker, text} of a segment: its elements. */
  parts(id) {
    return this.#rows.get(id);
  }

  /** Return the id of the segment in whose row an element is, or null. */
  idOf(element) {
    return this.#ids.get(element.closest(".segment")) ?? null;
  }

  /** Return the place of the word that an element is, {position, index}, or null. */
  placeOf(element) {
    const word = element.closest(".word");
    const id = word && this.idOf(word);
    return id ? { position: this.#document.position(id), index: [...word.parentNode.children].indexOf(word) } : null;
  }

  /** Light the word at a place, or none. Returns its element. */
  light(place) {
    const element = place ? this.#wordAt(place) : null;
    if (element === this.#lit) return element;
    this.#lit?.classList.remove("now");
    element?.classList.add("now");
    this.#lit = element;
    return element;
  }

  /** Return a range of the characters of a segment's text. */
  range(id, start, end) {
    this.#fill(id);
    const range = document.createRange();
    const nodes = document.createTreeWalker(this.parts(id).text, NodeFilter.SHOW_TEXT);
    let offset = 0;
    for (let node = nodes.nextNode(); node; node = nodes.nextNode()) {
      const next = offset + node.length;
      if (offset <= start && start < next) range.setStart(node, start - offset);
      if (offset < end && end <= next) range.setEnd(node, end - offset);
      offset = next;
    }
    return range;
  }

  #wordAt({ position, index }) {
    const { id } = this.#document.segments[position];
    this.#fill(id);
    return this.parts(id).text.children[index] ?? null;
  }

  #makeBlock(start) {
    const segments = this.#document.segments.slice(start, start + BLOCK);
    const rows = segments.map((segment, index) => this.#make(segment, start + index));
    const block = h("div", { class: "block", role: "presentation" }, rows);
    const lines = rows.reduce((sum, row) => sum + Math.ceil(row.textContent.length / LINE_CHARACTERS), 0);
    block.style.containIntrinsicBlockSize = `auto ${lines * LINE_REM + rows.length * ROW_REM}rem`;
    this.#nearness.observe(block);
    return block;
  }

  #make(segment, position) {
    const time = h("button", { class: "time", type: "button", tabindex: -1 });
    const speaker = h("button", { class: "speaker", type: "button", tabindex: -1 });
    const text = h("p", { class: "text", tabindex: -1 });
    const row = h("div", { class: "segment", role: "listitem" }, time, speaker, text);
    const parts = { row, time, speaker, text, isFilled: false };
    this.#rows.set(segment.id, parts);
    this.#ids.set(row, segment.id);
    this.#write(segment, position);
    return row;
  }

  #write(segment, position) {
    const parts = this.#rows.get(segment.id);
    parts.time.textContent = clock(segment.start);
    parts.time.setAttribute("aria-label", this.#t("editor.play_from", { time: clock(segment.start) }));
    parts.text.lang = this.#document.textLanguage(segment);
    parts.text.dir = "auto";
    const isVisible = parts.isFilled;
    parts.isFilled = false;
    parts.text.textContent = textOf(segment.words).trim();
    if (isVisible) this.#fill(segment.id);
    this.#writeSpeaker(segment, position);
  }

  /** Show the speaker where it changes; elsewhere the name is there for screen readers and in the active row. */
  #writeSpeaker(segment, position) {
    const { speaker } = this.#rows.get(segment.id);
    const isSame = position > 0 && this.#document.segments[position - 1].speaker === segment.speaker;
    speaker.textContent = segment.speaker || this.#t("editor.no_speaker");
    speaker.title = segment.speaker;
    speaker.classList.toggle("same", isSame);
    speaker.classList.toggle("none", !segment.speaker);
    const label = segment.speaker ? "editor.change_speaker" : "editor.name_speaker";
    speaker.setAttribute("aria-label", this.#t(label, { name: segment.speaker }));
  }

  #fillNear(entries) {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      this.#nearness.unobserve(target);
      [...target.children].forEach((row) => this.#fill(this.#ids.get(row)));
    }
  }

  /** Make an element for each word. */
  #fill(id) {
    const parts = this.#rows.get(id);
    if (parts.isFilled) return;
    parts.isFilled = true;
    const { words } = this.#document.segment(id);
    parts.text.replaceChildren(
      ...words.flatMap((word, index) => {
        const element = document.createElement("span");
        element.className = isDoubtful(word) ? "word doubtful" : "word";
        element.textContent = word.text.trimStart();
        const space = word.text.slice(0, word.text.length - element.textContent.length);
        return index && space ? [space, element] : [element]; // the space is not lit with the word
      }),
    );
  }

  #patch({ at, removed, inserted }) {
    const kept = new Set(inserted.map((segment) => segment.id));
    for (const { id } of removed) {
      if (kept.has(id)) continue;
      this.#rows.get(id).row.remove();
      this.#rows.delete(id);
    }
    inserted.forEach((segment, index) => {
      if (this.#rows.has(segment.id)) this.#rewrite(segment, at + index);
      else this.#insert(segment, at + index);
    });
    const after = this.#document.segments[at + inserted.length];
    if (after) this.#writeSpeaker(after, at + inserted.length);
    if (this.#document.position(this.#active) < 0) {
      const near = inserted[0] ?? after ?? this.#document.segments.at(-1);
      this.activate(near?.id ?? null);
    }
  }

  #insert(segment, position) {
    const row = this.#make(segment, position);
    this.#fill(segment.id);
    const before = this.#document.segments[position - 1];
    if (before) this.parts(before.id).row.after(row);
    else {
      if (!this.element.firstElementChild) this.element.append(h("div", { class: "block", role: "presentation" }));
      this.element.firstElementChild.prepend(row);
    }
  }

  #rewrite(segment, position) {
    const { text } = this.#rows.get(segment.id);
    const isSameText =
      text.textContent === textOf(segment.words).trim() && text.children.length === segment.words.length;
    if (isSameText) this.#writeSpeaker(segment, position);
    else this.#write(segment, position);
  }

  #setTabStops(id, tabIndex) {
    const parts = this.#rows.get(id);
    if (!parts) return;
    parts.row.classList.toggle("active", tabIndex === 0);
    for (const each of [parts.time, parts.speaker, parts.text]) each.tabIndex = tabIndex;
  }
}
