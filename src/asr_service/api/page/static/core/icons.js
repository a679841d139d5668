// Paths of the icons, drawn as lines of 1.5 units on a grid of 20.

export const ICONS = Object.freeze({
  back: "M12 4.5 6.5 10l5.5 5.5",
  close: "m5 5 10 10M15 5 5 15",
  download: "M10 3v9.5M6 9l4 4 4-4M3.5 16.5h13",
  file: "M11.5 2.5h-6v15h9V5.5l-3-3Zm0 0v3h3",
  folder: "M2.5 15.5v-11h5l2 2h8v9h-15Z",
  keyboard: "M2.5 5.5h15v9h-15v-9ZM5.5 8.5h0M8.5 8.5h0M11.5 8.5h0M14.5 8.5h0M6.5 11.5h7",
  languages: "M2.5 5.5h8M6.5 3.5v2M9 5.5c-.8 3-3 5.3-6 6.5M4.5 8c1 1.8 2.5 3.2 4.5 4M10 16.5l3.5-8 3.5 8M11.2 13.8h4.6",
  microphone: "M10 2.5a2.5 2.5 0 0 0-2.5 2.5v4.5a2.5 2.5 0 0 0 5 0V5A2.5 2.5 0 0 0 10 2.5ZM4.5 9.5a5.5 5.5 0 0 0 11 0M10 15v2.5",
  pause: "M7 4.5v11M13 4.5v11",
  resume: "M6.5 4.5v11l9-5.5-9-5.5Z",
  retry: "M15.5 10a5.5 5.5 0 1 1-1.6-3.9M14.5 2.5v4h-4",
  stop: "M5.5 5.5h9v9h-9v-9Z",
  trash: "M3.5 5.5h13M8 5.5v-2h4v2M5.5 5.5l.7 11h7.6l.7-11M8.5 8.5v5M11.5 8.5v5",
  warning: "M10 3 2.5 16.5h15L10 3ZM10 8v4M10 14.5h0",
});
