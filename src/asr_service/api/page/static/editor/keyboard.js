// The keys of the editor. A single letter works outside of text fields, and only while the page allows such shortcuts.

import { areKeysOn } from "../core/keys.js";

const FIELDS = "input:not([type=checkbox], [type=range]), textarea, select, [contenteditable]";
const PRESSED = "button, a, summary"; // they have a use of their own for Space and Enter
const MOVED = "input"; // sliders and boxes, which have one for the arrows too

/** Return {pressed, list}: a listener for `keydown`, and the shortcuts as [key, text]. */
export function keyboard(commands, t) {
  const single = {
    " ": () => commands.toggle(),
    k: () => commands.toggle(),
    j: () => commands.jump(-1),
    l: () => commands.jump(1),
    ArrowLeft: () => commands.word(-1),
    ArrowRight: () => commands.word(1),
    ArrowUp: () => commands.segment(-1),
    ArrowDown: () => commands.segment(1),
    Home: () => commands.edge(-1),
    End: () => commands.edge(1),
    "-": () => commands.faster(-1),
    "+": () => commands.faster(1),
    Enter: () => commands.edit(),
    e: () => commands.edit(),
    u: () => commands.doubtful(1),
    U: () => commands.doubtful(-1),
    s: () => commands.split(),
    m: () => commands.merge(),
    n: () => commands.speaker(),
    Delete: () => commands.remove(),
  };
  const withControl = {
    z: () => commands.undo(),
    Z: () => commands.redo(),
    y: () => commands.redo(),
    f: () => commands.search(),
    s: () => commands.download(),
    " ": () => commands.toggle(),
    Enter: () => commands.playHere(),
  };

  function pressed(event) {
    if (event.defaultPrevented || event.isComposing || event.altKey || document.querySelector("dialog[open]")) return;
    const action = event.ctrlKey || event.metaKey ? chord(event) : alone(event);
    if (!action) return;
    event.preventDefault();
    action();
  }

  function chord(event) {
    // A field of a dialog that was closed can have the focus for a moment more.
    const isOtherField = event.target.closest(FIELDS) && !event.target.closest(".text-field, dialog:not([open])");
    if (isOtherField && event.key.toLowerCase() !== "f") return null; // such a field has its own undo
    return withControl[event.key];
  }

  function alone(event) {
    if (event.target.closest(FIELDS) || !isHere(event.target)) return null;
    if (!areKeysOn() && event.key.length === 1 && event.key !== " ") return null;
    if (event.target.closest(PRESSED) && (event.key === "Enter" || event.key === " ")) return null;
    if (event.target.closest(MOVED) && (event.key.length > 1 || event.key === " ")) return null;
    if (event.key === "Delete" && !event.target.closest(".segments")) return null;
    return single[event.key];
  }

  const shown = [
    ["Space", "play"],
    ["← →", "word"],
    ["↑ ↓", "segment"],
    ["J L", "jump"],
    ["- +", "faster"],
    ["Enter", "edit"],
    ["Esc", "end"],
    ["U", "doubtful"],
    ["S", "split"],
    ["M", "merge"],
    ["N", "speaker"],
    ["Delete", "remove"],
    ["Ctrl Z, Ctrl Y", "undo"],
    ["Ctrl F", "find"],
    ["Ctrl S", "download"],
    ["Ctrl Space", "play_editing"],
    ["Ctrl Enter", "play_here"],
  ];
  const needsPlayer = new Set(["play", "jump", "faster", "play_editing", "play_here"]);
  const list = shown
    .filter(([, name]) => commands.hasPlayer || !needsPlayer.has(name))
    .map(([key, name]) => [key, t(`editor.key_${name}`)]);
  return { pressed, list };
}

/** Return whether the keys concern the editor: the focus is in it, or on nothing that has keys of its own. */
function isHere(target) {
  return target.closest(".editor") !== null || !target.closest(`${PRESSED}, ${MOVED}`);
}
