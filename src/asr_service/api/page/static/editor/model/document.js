// The document of the editor: the segments of a transcript, the changes to them, and undo. It knows no page.
//
// A segment is frozen: {id, source, start, end, language, speaker, words}. `id` is its name as long as the document is
// open; `source` is its position in the transcript of the service if it is unchanged, or else null. Every change
// replaces some neighbouring segments by others, so its inverse is the change with both sides exchanged.

import { cutWords, joinWords, leadOf, withSpace } from "./cuts.js";
import { difference } from "./difference.js";
import { History } from "./history.js";
import { Original } from "./original.js";
import { textLanguage } from "./text_language.js";
import { offsetsOf, retime, textOf } from "./words.js";

/** How far the name of a speaker reaches: the segments up to the next speaker, all of the old name, or one. */
export const REACH = Object.freeze({ onward: "onward", everywhere: "everywhere", one: "one" });

export class TranscriptDocument {
  #original;
  #history = new History();
  #positions = new Map();
  #listeners = new Set();
  #nextId = 0;

  /** `transcript` is the JSON of the service. `saved` are earlier edits; those of another transcript have no effect. */
  constructor(transcript, saved = null) {
    this.#original = new Original(transcript, () => this.#newId());
    this.segments = this.#original.has(saved) ? this.#original.read(saved.segments) : [...this.#original.segments];
    this.#renumber();
  }

  /** Call `listener` with each change: {at, removed, inserted}, two lists of segments. Returns how to stop that. */
  subscribe(listener) {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  get canUndo() {
    return this.#history.canUndo;
  }

  get canRedo() {
    return this.#history.canRedo;
  }

  get isEdited() {
    return this.segments.length !== this.#original.segments.length || this.segments.some((segment) => segment.source === null);
  }

  /** The names of speakers, in the order of their first words. */
  get speakers() {
    return [...new Set(this.segments.map((segment) => segment.speaker).filter(Boolean))];
  }

  position(id) {
    return this.#positions.get(id) ?? -1;
  }

  segment(id) {
    return this.segments[this.position(id)];
  }

  /** The language in which a segment is written, or an empty text: `language` is the one that was spoken. */
  textLanguage({ language }) {
    return textLanguage(this.#original.task, language);
  }

  /** The text of a segment as a person edits it, without spaces around it. */
  text(id) {
    return textOf(this.segment(id).words).trim();
  }

  /** Replace the text of a segment; an empty text removes it. Edits with the same `group` are undone at once. */
  setText(id, text, group = null) {
    const segment = this.segment(id);
    const cleaned = text.replace(/\s+/gu, " ").trim();
    if (cleaned === this.text(id)) return false;
    if (!cleaned) return this.remove(id);
    this.#replace(this.position(id), 1, [this.#withText(segment, cleaned)], group);
    return true;
  }

  remove(id) {
    this.#replace(this.position(id), 1, []);
    return true;
  }

  /** Split a segment before the character `offset` of its text. Returns the id of the second part, or null. */
  split(id, offset) {
    const segment = this.segment(id);
    const [head, tail] = cutWords(segment.words, offset + leadOf(segment.words));
    if (!textOf(head).trim() || !textOf(tail).trim()) return null;
    const first = this.#changed(segment, { words: head, end: Math.max(head.at(-1).end, segment.start) });
    const second = this.#changed(segment, { words: withSpace(tail), start: tail[0].start }, this.#newId());
    this.#replace(this.position(id), 1, [first, second]);
    return second.id;
  }

  /** Split a segment before the word `index`. Returns the id of the second part, or null. */
  splitBeforeWord(id, index) {
    const { words } = this.segment(id);
    return index < words.length ? this.split(id, offsetsOf(words)[index] - leadOf(words)) : null;
  }

  /** Join a segment with the next one. Returns the offset at which the text of the next one begins, or null. */
  merge(id) {
    const at = this.position(id);
    const [first, second] = this.segments.slice(at, at + 2);
    if (!second) return null;
    const words = joinWords(first.words, second.words);
    const end = Math.max(first.end, second.end);
    this.#replace(at, 2, [this.#changed(first, { words, end, speaker: first.speaker || second.speaker })]);
    return this.text(id).length - textOf(second.words).trim().length;
  }

  /** Name the speaker of a segment, and of others as far as `reach` says. An empty name removes it. */
  setSpeaker(id, name, reach = REACH.onward) {
    const at = this.position(id);
    const speaker = name.replace(/\s+/gu, " ").trim();
    const old = this.segments[at].speaker;
    if (speaker === old) return false;
    let [from, to] = [at, at + 1];
    if (reach === REACH.onward) while (this.segments[to]?.speaker === old) to += 1;
    if (reach === REACH.everywhere) [from, to] = [0, this.segments.length];
    const named = this.segments.slice(from, to);
    this.#replace(
      from,
      to - from,
      named.map((each) => (each.speaker === old ? this.#changed(each, { speaker }) : each)),
    );
    return true;
  }

  /** Replace the texts of several segments in one step. `texts` maps ids to texts. Returns how many have changed. */
  setTexts(texts) {
    const changed = [...texts].filter(([id, text]) => text.trim() !== this.text(id));
    if (!changed.length) return 0;
    const positions = changed.map(([id]) => this.position(id));
    const [from, to] = [Math.min(...positions), Math.max(...positions) + 1];
    const wanted = new Map(changed);
    const inserted = this.segments.slice(from, to).flatMap((segment) => {
      if (!wanted.has(segment.id)) return [segment];
      const text = wanted.get(segment.id).replace(/\s+/gu, " ").trim();
      return text ? [this.#withText(segment, text)] : [];
    });
    this.#replace(from, to - from, inserted);
    return changed.length;
  }

  /** Take back the last change. Returns the id of a segment that it concerned, or null. */
  undo() {
    return this.#step(this.#history.undo());
  }

  redo() {
    return this.#step(this.#history.redo());
  }

  /** The edits in a form that can be stored: unchanged segments, and unchanged words, are numbers of segments. */
  edits() {
    return this.#original.edits(this.segments);
  }

  /**
   * Take over `theirs`, the edits that another tab has made since `base`; both are as `edits` returns them, and a null
   * base is the unedited transcript. Where both tabs have changed the same segments, the text of this tab stays, and undo
   * shows the other one. Returns whether anything was taken over.
   */
  adopt(theirs, base) {
    if (!this.#original.has(theirs)) return false;
    const before = this.#original.has(base) ? base.segments : this.#original.segments.map((_, source) => source);
    const own = difference(before, this.edits().segments);
    const other = difference(before, theirs.segments);
    const segments = theirs.segments.slice(other.start, other.start + other.inserted);
    if (other.isNone) return false;
    if (own.isNone || other.end <= own.start) this.#insertStored(other.start, other.removed, segments);
    else if (other.start >= own.end) this.#insertStored(other.start + own.inserted - own.removed, other.removed, segments);
    else this.#insertBelow(theirs.segments, before.length, own, other);
    return true;
  }

  /** The edited transcript, in the JSON of the service, with a `speaker` in segments that have one. */
  transcript() {
    return this.#original.transcript(this.segments);
  }

  /** Replace segments by those of another tab. Its quick changes of one place are undone at once. */
  #insertStored(at, count, stored) {
    const removed = this.segments.slice(at, at + count);
    const gone = new Set(removed.map(({ id }) => id));
    const isFree = (id) => gone.has(id) || this.position(id) < 0;
    const inserted = this.#original.read(stored).map((segment, index) => {
      const id = count === stored.length ? removed[index].id : isFree(segment.id) ? segment.id : this.#newId();
      return id === segment.id ? segment : Object.freeze({ ...segment, id });
    });
    this.#replace(at, count, inserted, "elsewhere");
  }

  /** Put the segments of another tab into the history, below those that this tab has in the same place. */
  #insertBelow(stored, length, own, other) {
    const [start, end] = [Math.min(own.start, other.start), Math.max(own.end, other.end)];
    const mine = this.segments.slice(start, this.segments.length - (length - end));
    const theirs = stored.slice(start, stored.length - (length - end));
    this.#insertStored(start, mine.length, theirs);
    this.#replace(start, theirs.length, mine);
  }

  #newId() {
    this.#nextId += 1;
    return `s${this.#nextId}`;
  }

  #withText(segment, text) {
    const lead = /^\s/u.test(textOf(segment.words)) ? " " : "";
    return this.#changed(segment, { words: retime(segment.words, lead + text, segment.start, segment.end) });
  }

  /** Return the changed segment; the original one if it is that again. */
  #changed(segment, changes, id = segment.id) {
    return this.#original.orChanged({ ...segment, ...changes, id, source: null });
  }

  #replace(at, count, inserted, group = null) {
    const change = { at, removed: this.segments.slice(at, at + count), inserted };
    this.#history.add(change, group);
    this.#apply(change);
  }

  /** Apply a change of the history. Returns the id of a segment that it concerns, or null. */
  #step(change) {
    if (!change) return null;
    this.#apply(change);
    return (change.inserted[0] ?? this.segments[change.at] ?? this.segments.at(-1))?.id ?? null;
  }

  #apply(change) {
    this.segments = [
      ...this.segments.slice(0, change.at),
      ...change.inserted,
      ...this.segments.slice(change.at + change.removed.length),
    ];
    this.#renumber();
    this.#listeners.forEach((listener) => listener(change));
  }

  #renumber() {
    this.#positions = new Map(this.segments.map((segment, position) => [segment.id, position]));
  }
}
