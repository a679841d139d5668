// Files that were dropped, chosen or pasted.

const EXTENSIONS = new Set(
  (
    "3gp aac ac3 aif aiff amr au avi caf dts flac flv gsm m2ts m4a m4b m4v mka mkv mov mp2 mp3 mp4 mpeg mpg oga ogg opus " +
    "spx ts tta voc vob w64 wav weba webm wma wmv wv"
  ).split(" "),
);

/** What the file dialog offers. */
export const ACCEPT = ["audio/*", "video/*", ...[...EXTENSIONS].map((each) => `.${each}`)].join(",");

/** Return whether a file of a folder is a recording, by its type or its name; null is none. A single file is always tried. */
export function looksLikeRecording(file) {
  if (!file) return false;
  const extension = file.name.slice(file.name.lastIndexOf(".") + 1).toLowerCase();
  return !file.name.startsWith(".") && (/^(audio|video)\//.test(file.type) || EXTENSIONS.has(extension));
}

/** Return the files of a drop: {files, inFolders}. In folders, null is a file that cannot be read. */
export async function droppedFiles(transfer) {
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const folders = entries.filter((entry) => entry.isDirectory);
  if (!folders.length) return { files: [...transfer.files], inFolders: [] };
  const files = await Promise.all(entries.filter((entry) => entry.isFile).map(fileOf));
  return { files: files.filter(Boolean), inFolders: (await Promise.all(folders.map(filesOf))).flat() };
}

function fileOf(entry) {
  return new Promise((resolve) => entry.file(resolve, () => resolve(null)));
}

async function filesOf(folder) {
  const reader = folder.createReader();
  const found = [];
  // A reader returns a hundred entries at a time, and none at the end.
  for (let some = await read(reader); some.length; some = await read(reader)) {
    for (const entry of some) found.push(...(entry.isDirectory ? await filesOf(entry) : [await fileOf(entry)]));
  }
  return found;
}

function read(reader) {
  return new Promise((resolve) => reader.readEntries(resolve, () => resolve([]))); // of a folder that cannot be read
}

/** Resolves to the length of a recording in seconds, or to null if the browser cannot tell it soon. */
export function durationOf(blob) {
  const address = URL.createObjectURL(blob);
  const player = new Audio();
  return new Promise((resolve) => {
    const end = () => {
      const { duration } = player;
      player.removeAttribute("src");
      URL.revokeObjectURL(address);
      resolve(Number.isFinite(duration) ? duration : null);
    };
    player.onloadedmetadata = player.onerror = end;
    setTimeout(end, 2000);
    player.preload = "metadata";
    player.src = address;
  });
}
