// The API key. It is kept for the session only: it is gone when the tab is closed.

const NAME = "asr.key";
const SENDABLE = /^[\x21-\x7e]+$/;
let held = read();

function read() {
  try {
    return sessionStorage.getItem(NAME) ?? "";
  } catch {
    return "";
  }
}

/** Return whether a text can be sent as a key. A browser refuses to send a header with other characters. */
export function canBeKey(text) {
  return SENDABLE.test(text);
}

export const apiKey = Object.freeze({
  get: () => held,
  set(key) {
    held = key;
    try {
      sessionStorage.setItem(NAME, key);
    } catch {
      // It then holds until the page is closed.
    }
  },
  /** The header that carries it; none without a key. */
  headers: () => (held ? { Authorization: `Bearer ${held}` } : {}),
});
