// The player and editor of a transcript.
//
// mountEditor(element, options) fills an element and returns {unmount, keys, edits}. Options:
//   transcript  the JSON of /transcribe (response_format=json), best with words
//   audio       the recording as a Blob or an address, or null: then there is text alone
//   peaks       {per_second, data} as in that JSON, or null; by default those of the transcript
//   saved       what `onChange` got earlier, or null
//   onChange    called with the edits, a value that can be stored, soon after each change and at unmount
//   name        the name of the recording, for the names of files
//   t           translates: t(key, values). The keys begin with `editor.`
//   request     sends a request to the service: request(path, {method, headers, body}) resolves to a Response. It throws
//               an error with a `message` for people and, if a later try may succeed, `isPassing` and `retryAfterS`
//   announce    tells a sentence to screen readers
// `keys` are the shortcuts, for a help of the page: {title, keys: [[key, text]]}. `edits()` returns the current edits.
// The element must have the style editor.css. unmount() without an editor removes the one that was mounted last.

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
import { Player } from "./player/player.js";
import { playerBar } from "./player/player_bar.js";
import { Rows } from "./text/rows.js";
import { SpeakerForm } from "./text/speakers.js";
import { toolbar } from "./toolbar.js";

const SAVE_MS = 100;
const NO_SPEECH = "No speech was found."; // the editor has its own words for that
let mounted = null;

export function mountEditor(element, options) {
  mounted = mount(element, options);
  return mounted;
}

export function unmount() {
  mounted?.unmount();
}

function mount(element, options) {
  const { transcript, audio = null, peaks = transcript.peaks, saved = null, onChange = () => {} } = options;
  const { name = "", t, request = send, announce = () => {} } = options;
  const document_ = new TranscriptDocument(transcript, saved);
  const player = audio === null ? null : new Player(audio, transcript.duration);
  const edited = debounced(SAVE_MS, () => onChange(document_.edits()));
  const rows = new Rows(document_, t, () => {
    edited.later();
    follower.refresh();
    find.refresh();
    tools.update();
  });
  const editing = new Editing(document_, rows, t);
  const follower = new Follower(document_, rows, player, editing, t);
  const speakers = new SpeakerForm(document_, rows, t);
  const find = new FindPanel(document_, rows, t, { announce, onClose: () => rows.parts(rows.active)?.text.focus() });
  const exported = exportDialog({ transcript: () => document_.transcript(), request, name, t, announce });
  const commands = new Commands({ document: document_, rows, player, editing, follower, speakers, find, exported, announce });
  const tools = toolbar({ document: document_, commands, rows, copy, t });
  const bar = player && playerBar({ player, peaks, segments: () => document_.segments, t });
  const keys = keyboard(commands, t);
  const isEmpty = !transcript.segments.length;
  const hint = isEmpty ? "editor.empty" : player ? "editor.hint" : "editor.hint_text";
  const root = h("section", { class: "editor", "aria-label": t("editor.title") },
    h("div", { class: "editor-top" }, bar?.element, isEmpty ? null : tools.element, find.element),
    warnings(transcript), h("p", { class: "hint editor-hint" }, t(hint)), rows.element, follower.button, exported);

  rows.element.addEventListener("click", (event) => commands.clicked(event));
  rows.element.addEventListener("dblclick", (event) => commands.doubleClicked(event));
  document.addEventListener("keydown", keys.pressed);
  addEventListener("pagehide", edited.now);
  element.replaceChildren(root);

  async function copy() {
    await copyText(await new Exporter(document_.transcript(), request).text());
    announce(t("editor.copied"));
  }

  const self = {
    keys: { title: t("editor.title"), keys: keys.list },
    edits: () => document_.edits(),
    unmount() {
      editing.end({ keepsFocus: true });
      edited.now();
      removeEventListener("pagehide", edited.now);
      document.removeEventListener("keydown", keys.pressed);
      find.close();
      follower.close();
      rows.close();
      bar?.close();
      player?.close();
      root.remove();
      if (mounted === self) mounted = null;
    },
  };
  return self;
}

/** Return what the service says about the recording, such as lost parts. */
function warnings(transcript) {
  const sentences = (transcript.warnings ?? []).filter((sentence) => sentence !== NO_SPEECH);
  return sentences.length ? h("ul", { class: "warnings" }, sentences.map((each) => h("li", {}, icon(ICONS.warning), each))) : null;
}

/** Return {later, now}: `later` calls the action once, some time after the last call; `now` does so at once. */
function debounced(ms, action) {
  let timer = 0;
  const now = () => {
    if (!timer) return;
    clearTimeout(timer);
    timer = 0;
    action();
  };
  const later = () => {
    clearTimeout(timer);
    timer = setTimeout(now, ms);
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
