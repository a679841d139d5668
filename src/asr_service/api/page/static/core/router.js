// The address of a view: `#` is the list, `#/recording/ID` one recording.

/** Call `show` with the id of the recording in the address, or with null, now and at each change. */
export function route(show) {
  addEventListener("hashchange", () => show(currentId()));
  show(currentId());
}

function currentId() {
  return /^#\/recording\/([\w-]+)$/.exec(location.hash)?.[1] ?? null;
}

export function addressOf(id) {
  return `#/recording/${id}`;
}

export function goHome() {
  if (currentId() !== null) location.hash = "#/";
}
