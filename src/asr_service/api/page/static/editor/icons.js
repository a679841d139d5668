// Paths of the editor's icons, drawn as lines of 1.5 units on a grid of 20.

export const ICONS = Object.freeze({
  copy: "M7 6.5h9.5v11H7v-11ZM13 6.5v-4H3.5v11H7",
  doubt: "M7.6 8a2.4 2.4 0 1 1 3.4 2.2c-.7.3-1 .8-1 1.6M10 14.2h0M10 2.5a7.5 7.5 0 1 1 0 15 7.5 7.5 0 0 1 0-15Z",
  download: "M10 3v9.5M6 9l4 4 4-4M3.5 16.5h13",
  edit: "m12.5 4 3.5 3.5-9 9H3.5V13l9-9Z",
  find: "M8.5 3.5a5 5 0 1 1 0 10 5 5 0 0 1 0-10ZM12.5 12.5l4 4",
  follow: "M10 3v13M5 11l5 5 5-5",
  keys: "M2.5 5.5h15v9h-15v-9ZM5.5 8.5h0M8.5 8.5h0M11.5 8.5h0M14.5 8.5h0M6.5 11.5h7",
  merge: "M4 4.5h12M4 15.5h12M10 6.5v7M8 8.5l2-2 2 2M8 11.5l2 2 2-2",
  next: "M5 8l5 5 5-5",
  pause: "M7 4.5v11M13 4.5v11",
  play: "M6.5 4.5v11l9-5.5-9-5.5Z",
  previous: "M5 12l5-5 5 5",
  redo: "M13 4l3.5 3.5L13 11M16 7.5H8a4.5 4.5 0 0 0 0 9h3",
  remove: "M3.5 5.5h13M8 5.5v-2h4v2M5.5 5.5l.7 11h7.6l.7-11",
  split: "M3.5 10h13M10 3v4M10 13v4",
  undo: "M7 4 3.5 7.5 7 11M4 7.5h8a4.5 4.5 0 0 1 0 9H9",
  warning: "M10 3 2.5 16.5h15L10 3ZM10 8v4M10 14.5h0",
});
