// What the page remembers about its user's choices, in localStorage. A browser that keeps nothing is no error.

const PREFIX = "asr.";

export const settings = Object.freeze({
  get(name) {
    try {
      return JSON.parse(localStorage.getItem(PREFIX + name) ?? "null");
    } catch {
      return null;
    }
  },
  set(name, value) {
    try {
      localStorage.setItem(PREFIX + name, JSON.stringify(value));
    } catch {
      // The choice then holds until the page is closed.
    }
  },
});
