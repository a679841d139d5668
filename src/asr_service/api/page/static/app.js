// Puts the parts of the page together.

import { apiKey } from "./api/key.js";
import { Problem } from "./api/problem.js";
import { incomingRecordings, takeDroppedAndPasted } from "./controls/incoming.js";
import { Microphone } from "./controls/microphone.js";
import { saveSound } from "./controls/sound_file.js";
import { announcer } from "./core/announcer.js";
import { config } from "./core/config.js";
import { connection } from "./core/connection.js";
import { loadTexts, t } from "./core/i18n.js";
import { onKey } from "./core/keys.js";
import { addressOf, goHome, route } from "./core/router.js";
import { Queue } from "./queue/queue.js";
import { serviceFor } from "./queue/service.js";
import { watchJobs } from "./queue/watch.js";
import { openDatabase } from "./store/database.js";
import { Library } from "./store/library.js";
import { Takes } from "./store/takes.js";
import { confirmDialog } from "./views/dialogs/dialog.js";
import { openHelp } from "./views/dialogs/help_dialog.js";
import { askForKey } from "./views/dialogs/key_dialog.js";
import { askForLanguages } from "./views/dialogs/language_dialog.js";
import { languageOptions } from "./views/intake/options.js";
import { buildPage } from "./views/page.js";
import { problemText } from "./views/problems.js";

const texts = loadTexts();
const database = await openDatabase();
const library = new Library(database);
const queue = new Queue(library, serviceFor(config));
const incoming = incomingRecordings(queue, say, () => page.view.showNewest?.());
const microphone = new Microphone(new Takes(database), incoming.addRecording, say);
await texts;
const page = buildPage(document.getElementById("app"), {
  queue,
  library,
  actions: {
    addFiles: incoming.addFiles,
    record,
    finish: () => microphone.finish(),
    discard: () => microphone.discard(),
    keepTake: (found) => microphone.keepInterrupted(found).then(showInterrupted),
    dropTake: (found) => microphone.dropInterrupted(found).then(showInterrupted),
    cancel: (item) => queue.cancel(item.id),
    retry: (item) => queue.retry(item.id),
    languages: changeLanguages,
    save: (item) => saveSound(item, queue),
    remove,
    home: goHome,
    help: () => openHelp(page.view.keys),
    askForKey: enterKey,
    loadOffer,
    shown: showMicrophone,
  },
});

microphone.addEventListener("changed", showMicrophone);
queue.addEventListener("keyneeded", enterKey);
queue.addEventListener("settled", ({ detail: item }) => {
  const { name, state, problem } = item;
  announcer.say(state === "done" ? t("said.done", { name }) : t("said.failed", { name, why: problemText(problem) }));
});
connection.addEventListener("found", loadOffer);
addEventListener("beforeunload", (event) => {
  if (microphone.take || queue.isSending || library.hasUnsaved) event.preventDefault();
});
takeDroppedAndPasted(
  (...found) => (goHome(), incoming.addFiles(...found)),
  (isDropping) => page.view.intake?.setDropping(isDropping),
);
onKey("?", () => openHelp(page.view.keys));
onKey("h", goHome);
onKey("o", () => (goHome(), page.view.intake?.chooseFiles()));
onKey("r", () => (microphone.take ? microphone.finish() : record()));

page.start();
await queue.restore();
route((id) => page.show(id));
if (config.hasJobs) watchJobs(queue);
if (config.needsKey && !apiKey.get()) queue.hold();

/** Tell a sentence to everybody: on the first view, and to screen readers. */
function say(text, { isPassing = false } = {}) {
  announcer.say(text);
  page.view.intake?.say(text, isPassing);
}

function record() {
  goHome();
  return microphone.record();
}

function showMicrophone() {
  page.view.showTake?.(microphone.take, microphone.live);
  return showInterrupted();
}

async function showInterrupted() {
  const found = await microphone.interrupted();
  page.view.showFound?.(found);
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

/** Transcribe a recording in other languages. A text that it has stays, and so the recording is added once more. */
async function changeLanguages(item) {
  const chosen = await askForLanguages(item, page.options.offer);
  if (!chosen) return;
  const options = { ...item.options, ...languageOptions(chosen) };
  if (item.state !== "done") await queue.retry(item.id, options);
  else location.hash = addressOf(await incoming.addAgain(item, options));
}

async function remove(item) {
  const text = t(config.hasJobs ? "remove.text_jobs" : "remove.text");
  if (await confirmDialog(t("remove.title", { name: item.name }), text, t("action.remove"))) await queue.remove(item.id);
}
