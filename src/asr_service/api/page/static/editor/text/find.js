// The panel for find and replace.

import { findForm } from "./find_form.js";
import { findAll, pattern, replaceAll, replaceOne } from "../model/search.js";

const DELAY_MS = 120;
const MAX_MARKED = 500;
const canMark = typeof Highlight !== "undefined" && "highlights" in CSS;

export class FindPanel {
  #document;
  #rows;
  #t;
  #announce;
  #found = [];
  #at = -1;
  #timer = 0;
  #parts; // of the form

  /** `announce` tells a sentence to screen readers. `onClose` is called when the panel has closed. */
  constructor(document_, rows, t, { announce, onClose }) {
    this.#document = document_;
    this.#rows = rows;
    this.#t = t;
    this.#announce = announce;
    this.onClose = onClose;
    this.#parts = findForm(t, {
      changed: () => this.#search(),
      typed: () => this.refresh(),
      pressed: (event) => this.#pressed(event),
      previous: () => this.#go(-1),
      next: () => this.#go(1),
      replace: () => this.#replace(),
      replaceAll: () => this.#replaceEverywhere(),
      close: () => this.close(),
    });
    this.element = this.#parts.form;
  }

  get isOpen() {
    return !this.element.hidden;
  }

  open() {
    const selected = String(getSelection()).trim();
    if (selected && !selected.includes("\n")) this.#parts.query.value = selected;
    this.element.hidden = false;
    this.#parts.query.focus();
    this.#parts.query.select();
    this.#search();
  }

  close() {
    if (!this.isOpen) return;
    this.element.hidden = true;
    this.#unmark();
    this.onClose();
  }

  /** Find again after the document has changed. */
  refresh() {
    if (!this.isOpen) return;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#search(), DELAY_MS);
  }

  #pressed(event) {
    if (event.isComposing) return;
    if (event.key === "Escape") {
      event.stopPropagation();
      this.close();
    } else if (event.key === "Enter" && event.target.type === "text") {
      event.preventDefault();
      if (event.target === this.#parts.replacement) this.#replace();
      else this.#go(event.shiftKey ? -1 : 1);
    }
  }

  get #options() {
    const { matchesCase, isWord, isRegular } = this.#parts;
    return { matchesCase: matchesCase.checked, isWord: isWord.checked, isRegular: isRegular.checked };
  }

  /** Return the pattern, or null if there is none or it is not valid. */
  #pattern() {
    try {
      const found = pattern(this.#parts.query.value, this.#options);
      this.#parts.query.removeAttribute("aria-invalid");
      return found;
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error;
      this.#parts.query.setAttribute("aria-invalid", "true");
      return null;
    }
  }

  #search() {
    const before = this.#found[this.#at];
    const wanted = this.#pattern();
    const texts = wanted ? this.#document.segments.map(({ id }) => this.#document.text(id)) : [];
    this.#found = wanted ? findAll(texts, wanted) : [];
    const isBefore = (match) =>
      match.index < before.index || (match.index === before.index && match.start < before.start);
    const same = before ? this.#found.findIndex((match) => !isBefore(match)) : 0;
    this.#at = this.#found.length ? Math.max(same, 0) : -1;
    this.#show();
  }

  #go(step) {
    const count = this.#found.length;
    if (!count) return;
    this.#at = (this.#at + step + count) % count;
    this.#show();
  }

  #show() {
    const { query, count } = this.#parts;
    if (query.getAttribute("aria-invalid")) count.textContent = this.#t("editor.bad_expression");
    else if (!query.value) count.textContent = "";
    else if (!this.#found.length) count.textContent = this.#t("editor.not_found");
    else count.textContent = this.#t("editor.found", { at: this.#at + 1, of: this.#found.length });
    this.#mark();
  }

  #mark() {
    this.#unmark();
    const current = this.#found[this.#at];
    if (!current) return;
    const { row } = this.#rows.parts(this.#idOf(current));
    row.classList.add("found");
    row.scrollIntoView({ block: "center" });
    if (!canMark) return;
    const first = Math.max(this.#at - MAX_MARKED / 2, 0);
    CSS.highlights.set(
      "found",
      new Highlight(...this.#found.slice(first, first + MAX_MARKED).map((match) => this.#range(match))),
    );
    CSS.highlights.set("found-now", new Highlight(this.#range(current)));
  }

  #unmark() {
    this.#rows.element.querySelectorAll(".found").forEach((row) => row.classList.remove("found"));
    if (!canMark) return;
    CSS.highlights.delete("found");
    CSS.highlights.delete("found-now");
  }

  #idOf({ index }) {
    return this.#document.segments[index].id;
  }

  #range(match) {
    return this.#rows.range(this.#idOf(match), match.start, match.end);
  }

  #replace() {
    const match = this.#found[this.#at];
    const wanted = this.#pattern();
    if (!match || !wanted) return;
    const id = this.#idOf(match);
    const replaced = replaceOne(
      this.#document.text(id),
      wanted,
      match.start,
      this.#parts.replacement.value,
      this.#options,
    );
    const end = match.start + replaced.length - this.#document.text(id).length + (match.end - match.start);
    this.#found[this.#at] = { ...match, start: end, end }; // the next match is searched after the new text
    this.#document.setText(id, replaced);
    clearTimeout(this.#timer);
    this.#search();
  }

  #replaceEverywhere() {
    const wanted = this.#pattern();
    if (!wanted || !this.#found.length) return;
    const ids = new Set(this.#found.map((match) => this.#idOf(match)));
    const { value } = this.#parts.replacement;
    const count = this.#found.length;
    this.#document.setTexts(
      [...ids].map((id) => [id, replaceAll(this.#document.text(id), wanted, value, this.#options)]),
    );
    clearTimeout(this.#timer);
    this.#search();
    const done = this.#t("editor.replaced", { count });
    this.#parts.count.textContent = done;
    this.#announce(done);
  }
}
