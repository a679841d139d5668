// Edits the text of a segment in its row. Enter splits there; Backspace at the start and Delete at the end join.

import { h } from "../../core/dom.js";
import { settings } from "../../store/settings.js";

const TIMES = "edited";
const HINTED_TIMES = 8;
const PAUSE_MS = 1000; // after a pause of typing, undo has another step

/** Events: `begin` and `end`, when a text field opens and has closed. */
export class Editing extends EventTarget {
  #document;
  #rows;
  #t;
  #id = null;
  #field = null;
  #group = 0;
  #typedAt = 0;
  #isClosing = false;
  #resized = () => this.#fit();

  constructor(document_, rows, t) {
    super();
    this.#document = document_;
    this.#rows = rows;
    this.#t = t;
  }

  get isOpen() {
    return this.#id !== null;
  }

  /** The id of the segment that is edited, and the place of the caret in its text. */
  get caret() {
    return this.isOpen ? { id: this.#id, offset: this.#offset(this.#field.selectionStart) } : null;
  }

  /** Open the text of a segment, with the characters from `offset` to `end` selected, or the caret before `offset`. */
  begin(id, offset = 0, end = offset) {
    if (this.#id !== id) {
      this.end({ keepsFocus: true });
      this.#rows.activate(id);
      const { text, row } = this.#rows.parts(id);
      this.#field = h("textarea", {
        class: "text-field",
        rows: 1,
        spellcheck: "true",
        enterkeyhint: "enter",
        lang: text.lang,
        dir: "auto",
        "aria-label": this.#t("editor.text_of_segment"),
        oninput: () => this.#typed(),
        onkeydown: (event) => this.#pressed(event),
        onblur: () => document.hasFocus() && this.end({ keepsFocus: true }),
      });
      this.#id = id;
      this.#field.value = this.#document.text(id);
      this.#group += 1;
      text.hidden = true;
      text.after(this.#field, ...this.#hints());
      row.classList.add("editing");
      addEventListener("resize", this.#resized);
      this.#fit();
    }
    this.#field.focus({ preventScroll: true });
    this.#field.setSelectionRange(offset, end);
    this.#field.scrollIntoView({ block: "nearest" });
    this.dispatchEvent(new Event("begin"));
  }

  /** Close the text field and keep its text. An empty text removes the segment, unless `keepsEmpty`. */
  end({ keepsFocus = false, keepsEmpty = false } = {}) {
    if (!this.isOpen || this.#isClosing) return;
    this.#isClosing = true; // a focused field that is removed loses its focus, which ends the editing
    const [id, field] = [this.#id, this.#field];
    const parts = this.#rows.parts(id);
    if (this.#document.position(id) >= 0 && (field.value.trim() || !keepsEmpty)) {
      this.#document.setText(id, field.value, this.#groupName());
    }
    this.#id = this.#field = null;
    removeEventListener("resize", this.#resized);
    field.remove();
    parts.row.querySelector(".field-hint")?.remove();
    parts.text.hidden = false;
    parts.row.classList.remove("editing");
    this.#isClosing = false;
    if (!keepsFocus) this.#rows.parts(this.#rows.active)?.text.focus({ preventScroll: true });
    this.dispatchEvent(new Event("end"));
  }

  /** Take back or repeat a change while a text may be open. The text of the change is open afterwards, if one was. */
  step(change) {
    const wasOpen = this.isOpen;
    this.end({ keepsFocus: wasOpen });
    const id = change();
    if (id === null || this.#document.position(id) < 0) return;
    if (wasOpen) this.begin(id, this.#document.text(id).length);
    else this.#rows.activate(id);
    this.#rows.parts(id).row.scrollIntoView({ block: "nearest" });
  }

  /** Return what a person should know who edits for the first times. */
  #hints() {
    const times = settings.get(TIMES) ?? 0;
    if (times >= HINTED_TIMES) return [];
    settings.set(TIMES, times + 1);
    const isTouched = matchMedia("(pointer: coarse)").matches;
    return [h("p", { class: "hint field-hint" }, this.#t(isTouched ? "editor.hint_editing_touch" : "editor.hint_editing"))];
  }

  /** Run an action that may change the open text. It stays open, at its caret, if it is still the same. */
  around(action) {
    const { caret } = this;
    if (!caret) return action();
    const textOf = () => this.#document.position(caret.id) >= 0 && this.#document.text(caret.id);
    this.end({ keepsFocus: true, keepsEmpty: true });
    const before = textOf();
    const result = action();
    if (textOf() === before) this.begin(caret.id, caret.offset);
    return result;
  }

  #typed() {
    const now = performance.now();
    if (now - this.#typedAt > PAUSE_MS) this.#group += 1;
    this.#typedAt = now;
    this.#fit();
    if (this.#field.value.trim()) this.#document.setText(this.#id, this.#field.value, this.#groupName());
  }

  #groupName() {
    return `${this.#id}/${this.#group}`;
  }

  /** Return a place in the field as a place in the text of the document, which has no repeated spaces. */
  #offset(place) {
    return this.#field.value.slice(0, place).replace(/\s+/gu, " ").trimStart().length;
  }

  #fit() {
    this.#field.style.height = "0";
    this.#field.style.height = `${this.#field.scrollHeight}px`;
  }

  #pressed(event) {
    if (event.isComposing || event.ctrlKey || event.metaKey || event.altKey) return;
    const { selectionStart: start, selectionEnd: end, value } = this.#field;
    const isAt = (place) => start === end && start === place;
    const actions = {
      Enter: () => this.#split(),
      Escape: () => this.end(),
      Backspace: isAt(0) && (() => this.#mergeInto(-1)),
      Delete: isAt(value.length) && (() => this.#mergeInto(0)),
      ArrowUp: isAt(0) && (() => this.#move(-1)),
      ArrowDown: isAt(value.length) && (() => this.#move(1)),
    };
    const action = actions[event.key];
    if (!action) return;
    event.preventDefault();
    event.stopPropagation();
    action();
  }

  #split() {
    const { id, offset } = this.caret;
    this.#document.setText(id, this.#field.value, this.#groupName());
    if (this.#document.position(id) < 0) return;
    const second = this.#document.split(id, offset);
    if (second === null) return;
    this.#field.value = this.#document.text(id);
    this.begin(second, 0);
  }

  /** Join the segment with the one before it (-1) or after it (0). */
  #mergeInto(step) {
    const at = this.#document.position(this.#id) + step;
    const first = this.#document.segments[at];
    if (!first || !this.#document.segments[at + 1]) return;
    this.end({ keepsFocus: true });
    if (this.#document.position(first.id) < 0) return; // it was empty
    this.begin(first.id, this.#document.merge(first.id) ?? 0);
  }

  #move(step) {
    const next = this.#document.segments[this.#document.position(this.#id) + step];
    if (next) this.begin(next.id, step > 0 ? 0 : this.#document.text(next.id).length);
  }
}
