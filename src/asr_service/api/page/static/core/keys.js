// Keyboard shortcuts. A single letter works only outside of text fields, and can be turned off (WCAG 2.1.4).

import { settings } from "../store/settings.js";

const EDITABLE = "input, textarea, select, [contenteditable]";
const shortcuts = new Map();

/** Call `action` when the key is pressed alone. Returns a function that removes the shortcut. */
export function onKey(key, action) {
  shortcuts.set(key, action);
  return () => shortcuts.delete(key);
}

export function areKeysOn() {
  return settings.get("keys") !== "off";
}

export function turnKeys(on) {
  settings.set("keys", on ? "on" : "off");
}

document.addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (!areKeysOn() || event.target.closest(EDITABLE) || document.querySelector("dialog[open]")) return;
  const action = shortcuts.get(event.key);
  if (action) {
    event.preventDefault();
    action();
  }
});
