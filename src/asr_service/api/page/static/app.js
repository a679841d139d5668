// Puts the parts of the page together.

import { connection } from "./core/connection.js";
import { announcer } from "./core/announcer.js";
import { config } from "./core/config.js";
import { t, loadTexts } from "./core/i18n.js";
import { onKey } from "./core/keys.js";
import { goHome, route } from "./core/router.js";
import { apiKey } from "./api/key.js";
import { Problem } from "./api/problem.js";
import { openDatabase } from "./store/database.js";
import { Library } from "./store/library.js";
import { Takes } from "./store/takes.js";
import { Queue } from "./queue/queue.js";
import { serviceFor } from "./queue/service.js";
import { watchJobs } from "./queue/watch.js";
import { LiveText } from "./recorder/live_text.js";
import { NoMicrophone, Take } from "./recorder/take.js";
import { confirmDialog } from "./views/dialogs/dialog.js";
import { droppedFiles, durationOf, looksLikeRecording } from "./views/intake/files.js";
import { openHelp } from "./views/dialogs/help_dialog.js";
import { askForKey } from "./views/dialogs/key_dialog.js";
import { requestOptions } from "./views/intake/options.js";
import { buildPage } from "./views/page.js";
import { problemText } from "./views/problems.js";

const texts = loadTexts();
const database = await openDatabase();
const library = new Library(database);
const takes = new Takes(database);
const queue = new Queue(library, serviceFor(config));
let take = null;
let live = null;
let isOpening = false;

const actions = {
  addFiles,
  record,
  finish,
  discard,
  keepTake,
  dropTake,
  cancel: (item) => queue.cancel(item.id),
  retry: (item) => queue.retry(item.id),
  remove,
  home: goHome,
  help: () => openHelp(page.view.keys),
  askForKey: enterKey,
  loadOffer,
  shown,
};
await texts;
const page = buildPage(document.getElementById("app"), { queue, library, actions });
page.start();
await queue.restore();
route((id) => page.show(id));
if (config.hasJobs) watchJobs(queue);

// ---- recordings that come in

async function addFiles(files, inFolders) {
  const recordings = inFolders.filter(looksLikeRecording);
  const skipped = inFolders.length - recordings.length;
  const all = [...files, ...recordings];
  for (const file of all) await addRecording(file, { name: file.name, source: "file" });
  const told = [all.length ? t("intake.added", { count: all.length }) : null, skipped ? t("intake.skipped", { count: skipped }) : null];
  say(told.filter(Boolean).join(" "), { isPassing: !skipped });
  if (all.length) askToKeep();
}

async function addRecording(blob, about) {
  const whole = { options: requestOptions(), ...about };
  if (blob.size > config.maxUploadBytes) {
    await queue.refuse(blob, whole, new Problem(413, "upload_too_large", ""));
    return;
  }
  const durationS = about.durationS ?? (await durationOf(blob));
  await queue.add(blob, { ...whole, durationS });
}

/** Ask the browser not to delete the recordings when its disk is full. */
function askToKeep() {
  navigator.storage?.persist?.().catch(() => {});
}

function say(text, { isPassing = false } = {}) {
  announcer.say(text);
  page.view.intake?.say(text, isPassing);
}

// ---- the microphone

async function record() {
  if (take || isOpening) return;
  isOpening = true;
  goHome();
  try {
    take = await Take.begin(takes);
  } catch (error) {
    if (!(error instanceof NoMicrophone)) throw error;
    say(t(`microphone.${error.reason}`));
    return;
  } finally {
    isOpening = false;
  }
  take.addEventListener("ended", finish);
  say("");
  announcer.say(t("recorder.recording"));
  listen();
  page.view.showTake?.(take, live);
}

/** Show the text while it is spoken. Translations have none, because the socket does not translate. */
function listen() {
  const options = requestOptions();
  if (options.task === "translate") return;
  live = new LiveText(take, options);
  live.start();
}

/** Forget the recording that was being made, and show the page without it. */
function endTake() {
  const ended = take;
  take = null;
  live?.close();
  live = null;
  page.view.showTake?.(null);
  return ended;
}

async function finish() {
  const done = endTake();
  if (!done) return;
  const { blob, seconds, begunAt } = await done.finish();
  await addRecording(blob, takeFacts(seconds, begunAt));
  await done.forget();
}

async function discard() {
  if (!take || !(await confirmDialog(t("recorder.discard_title"), t("recorder.discard_text"), t("recorder.discard")))) return;
  await endTake()?.discard();
}

async function keepTake(found) {
  await addRecording(await takes.audio(found), takeFacts(found.seconds, found.begunAt));
  await dropTake(found);
}

async function dropTake(found) {
  await takes.remove(found.id);
  await showFound();
}

function takeFacts(seconds, begunAt) {
  const time = new Intl.DateTimeFormat(document.documentElement.lang, { dateStyle: "medium", timeStyle: "short" }).format(begunAt);
  return { name: t("recorder.name", { time }), source: "microphone", durationS: seconds };
}

async function showFound() {
  if (!take) page.view.showFound?.(await takes.unfinished());
}

// ---- the page as a whole

function shown(view) {
  if (!view.showTake) return;
  view.showTake(take, live);
  if (take === null) takes.unfinished().then(view.showFound);
}

async function loadOffer() {
  if (config.needsKey && !apiKey.get()) return;
  try {
    await page.options.load();
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    if (error.needsKey) queue.hold();
    else if (error.isLost) connection.lose();
    else if (error.isPassing) setTimeout(loadOffer, 1000 * (error.retryAfterS ?? 5));
  }
}

async function enterKey() {
  if (!(await askForKey())) return;
  queue.release();
  page.updateBanner();
  await loadOffer();
}

async function remove(item) {
  const text = t(config.hasJobs ? "remove.text_jobs" : "remove.text");
  if (await confirmDialog(t("remove.title", { name: item.name }), text, t("action.remove"))) await queue.remove(item.id);
}

queue.addEventListener("keyneeded", enterKey);
connection.addEventListener("found", loadOffer);
queue.addEventListener("settled", ({ detail: item }) => {
  const text = item.state === "done" ? t("said.done", { name: item.name }) : t("said.failed", { name: item.name, why: problemText(item.problem) });
  announcer.say(text);
});

addEventListener("dragover", (event) => {
  if (!event.dataTransfer.types.includes("Files")) return;
  event.preventDefault();
  page.view.intake?.setDropping(true);
});
addEventListener("dragleave", (event) => event.relatedTarget || page.view.intake?.setDropping(false));
addEventListener("drop", async (event) => {
  if (!event.dataTransfer.types.includes("Files")) return;
  event.preventDefault();
  page.view.intake?.setDropping(false);
  const { files, inFolders } = await droppedFiles(event.dataTransfer);
  goHome();
  await addFiles(files, inFolders);
});
addEventListener("paste", (event) => {
  const files = [...(event.clipboardData?.files ?? [])];
  if (!files.length) return;
  event.preventDefault();
  addFiles(files, []);
});
addEventListener("beforeunload", (event) => {
  if (take || queue.isSending) event.preventDefault();
});

onKey("?", actions.help);
onKey("h", goHome);
onKey("o", () => (goHome(), page.view.intake?.chooseFiles()));
onKey("r", () => (take ? finish() : record()));

if (config.needsKey && !apiKey.get()) queue.hold();
