// The player and editor of a transcript.
//
// mountEditor(element, options) fills an element and returns {unmount(), keys, edits(), adopt(theirs, base)}. Options:
//   transcript  the JSON of /transcribe (response_format=json), best with words
//   warnings    sentences about the recording, such as lost parts; by default there are none
//   audio       the recording as a Blob or an address, or null: then there is text alone
//   peaks       {per_second, data} as in that JSON, or null; by default those of the transcript
//   saved       the edits of an earlier visit, or null
//   onChange    called soon after each change and at unmount, and with {isLeaving: true} if the page closes before
//   name        the name of the recording, for the names of files
//   t           translates: t(key, values). The keys begin with `editor.`
//   request     sends a request to the service: request(path, {method, headers, body}) resolves to a Response. It throws
//               an error with a `message` for people and, if a later try may succeed, `isPassing` and `retryAfterS`
//   announce    tells a sentence to screen readers
// `keys` are the shortcuts, for a help of the page: {title, keys: [[key, text]]}. edits() returns the current edits, a
// value that can be stored. adopt() takes over the edits of another tab, made since the edits `base`.
// The page must have the style editor.css.

import { h, icon } from "../core/dom.js";
import { Commands } from "./commands.js";
import { Editing } from "./text/editing.js";
import { Exporter, copyText } from "./export/export.js";
import { exportDialog } from "./export/export_dialog.js";
import { FindPanel } from "./text/find.js";
import { Follower } from "./player/follower.js";
import { ICONS } from "./icons.js";
import { keyboard } from "./keyboard.js";
import { TranscriptDocument } from "./model/document.js";
import { isDoubtful } from "./model/timeline.js";
import { Player } from "./player/player.js";
import { playerBar } from "./player/player_bar.js";
import { Rows } from "./text/rows.js";
import { SpeakerForm } from "./text/speakers.js";
import { toolbar } from "./toolbar.js";

const SAVE_MS = 100;
const DEFAULTS = { warnings: [], audio: null, saved: null, onChange: () => {}, name: "", request: send, announce: () => {} };

export function mountEditor(element, options) {
  const editor = new Editor({ ...DEFAULTS, peaks: options.transcript.peaks, ...options });
  element.replaceChildren(editor.element);
  return editor;
}

class Editor {
  #document;
  #t;
  #parts;
  #keyboard;
  #edited;
  #isAdopting = false;
  #leave = () => this.#edited.now({ isLeaving: true });

  constructor(options) {
    const { transcript, saved, onChange, t } = options;
    this.#t = t;
    this.#document = new TranscriptDocument(transcript, saved);
    this.#edited = debounced(SAVE_MS, onChange);
    this.#parts = this.#makeParts(options);
    this.#keyboard = keyboard(this.#parts.commands, t);
    this.keys = { title: t("editor.title"), keys: this.#keyboard.list };
    this.element = this.#layOut(options);
    this.#listen();
  }

  edits() {
    return this.#document.edits();
  }

  /** Take over the edits of another tab. A text that is open stays open, unless the other tab has changed it. */
  adopt(theirs, base) {
    const { editing, announce } = this.#parts;
    this.#isAdopting = true;
    const isNews = editing.around(() => this.#document.adopt(theirs, base));
    this.#isAdopting = false;
    if (isNews) announce(this.#t("editor.changed_elsewhere"));
  }

  unmount() {
    const { editing, find, follower, rows, bar, player } = this.#parts;
    editing.end({ keepsFocus: true });
    this.#edited.now();
    removeEventListener("pagehide", this.#leave);
    document.removeEventListener("keydown", this.#keyboard.pressed);
    find.close();
    for (const part of [follower, rows, bar, player]) part?.close();
    this.element.remove();
  }

  #makeParts({ transcript, audio, peaks, name, t, request, announce }) {
    const document_ = this.#document;
    const edited = () => document_.transcript();
    const player = audio === null ? null : new Player(audio, transcript.duration);
    const rows = new Rows(document_, t, () => this.#changed());
    const editing = new Editing(document_, rows, t);
    const follower = new Follower(document_, rows, player, editing, t);
    const speakers = new SpeakerForm(document_, rows, t);
    const find = new FindPanel(document_, rows, t, { announce, onClose: () => rows.parts(rows.active)?.text.focus() });
    const exported = exportDialog({ transcript: edited, request, name, t, announce });
    const parts = { document: document_, rows, player, editing, follower, speakers, find, exported, announce };
    const commands = new Commands(parts);
    const copy = async () => {
      await copyText(await new Exporter(edited(), request).text());
      announce(t("editor.copied"));
    };
    const tools = toolbar({ document: document_, commands, copy, t });
    const bar = player && playerBar({ player, peaks, segments: () => document_.segments, t });
    return { ...parts, commands, tools, bar };
  }

  #layOut({ transcript, warnings, t }) {
    const { bar, tools, find, rows, follower, exported, player } = this.#parts;
    const isEmpty = !transcript.segments.length;
    return h(
      "section",
      { class: "editor", "aria-label": t("editor.title") },
      h("div", { class: "editor-top" }, bar?.element, isEmpty ? null : tools.element, find.element),
      warningList(warnings),
      h("p", { class: "hint editor-hint" }, hints(this.#document, player, t)),
      rows.element,
      follower.button,
      exported,
    );
  }

  #listen() {
    const { rows, commands } = this.#parts;
    rows.element.addEventListener("click", (event) => commands.clicked(event));
    rows.element.addEventListener("dblclick", (event) => commands.doubleClicked(event));
    document.addEventListener("keydown", this.#keyboard.pressed);
    addEventListener("pagehide", this.#leave);
  }

  #changed() {
    const { follower, find, tools } = this.#parts;
    if (!this.#isAdopting) this.#edited.later(); // what comes from another tab is stored already
    follower.refresh();
    find.refresh();
    tools.update();
  }
}

function warningList(sentences) {
  if (!sentences.length) return null;
  const lines = sentences.map((each) => h("li", {}, icon(ICONS.warning), each));
  return h("ul", { class: "warnings" }, lines);
}

/** Return what a person who sees the editor for the first time should know. */
function hints({ segments }, player, t) {
  if (!segments.length) return t("editor.empty");
  const isTouched = matchMedia("(pointer: coarse)").matches;
  const first = isTouched ? "editor.hint_touch" : player ? "editor.hint" : "editor.hint_text";
  const isDoubted = segments.some(({ words }) => words.some(isDoubtful));
  return isDoubted ? `${t(first)} ${t("editor.hint_doubt")}` : t(first);
}

/** Return {later, now}: `later` calls the action once, some time after the last call; `now` does so at once. */
function debounced(ms, action) {
  let timer = 0;
  const now = (about = {}) => {
    if (!timer) return;
    clearTimeout(timer);
    timer = 0;
    action(about);
  };
  const later = () => {
    clearTimeout(timer);
    timer = setTimeout(() => now(), ms);
  };
  return { later, now };
}

/** Send a request without an API key. */
async function send(path, init) {
  const response = await fetch(path, init);
  if (response.ok) return response;
  const body = await response.json().catch(() => ({}));
  throw new Error(body.error?.message ?? `${response.status} ${response.statusText}`);
}
