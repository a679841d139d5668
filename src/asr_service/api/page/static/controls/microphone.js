// The microphone: at most one recording at a time, and the recordings that were interrupted.

import { announcer } from "../core/announcer.js";
import { formatLocale, t } from "../core/i18n.js";
import { LiveText } from "../recorder/live_text.js";
import { NoMicrophone, Take } from "../recorder/take.js";
import { confirmDialog } from "../views/dialogs/dialog.js";
import { requestOptions } from "../views/intake/options.js";

/** Dispatches `changed` when a recording begins or ends. */
export class Microphone extends EventTarget {
  #takes;
  #addRecording;
  #say;
  #isOpening = false;
  /** The recording that is being made, and its text while it is spoken; null without one. */
  take = null;
  live = null;

  /** `addRecording(blob, about)` gets what is finished; `say` tells a sentence to the person at the page. */
  constructor(takes, addRecording, say) {
    super();
    this.#takes = takes;
    this.#addRecording = addRecording;
    this.#say = say;
  }

  async record() {
    if (this.take || this.#isOpening) return;
    this.#isOpening = true;
    try {
      this.take = await Take.begin(this.#takes);
    } catch (error) {
      if (!(error instanceof NoMicrophone)) throw error;
      this.#say(t(`microphone.${error.reason}`));
      return;
    } finally {
      this.#isOpening = false;
    }
    this.take.addEventListener("ended", () => this.finish());
    this.#say("");
    announcer.say(t("recorder.recording"));
    this.#listen();
    this.#dispatchChanged();
  }

  /** End the recording and add it. */
  async finish() {
    const take = this.#end();
    if (!take) return;
    this.#dispatchChanged();
    const { blob, seconds, begunAt } = await take.finish();
    await this.#addRecording(blob, factsOf(seconds, begunAt));
    await take.forget();
  }

  /** Ask, and delete the recording. It stays on the page until nothing of it is stored: the page may be closed then. */
  async discard() {
    const { take } = this;
    const isSure = () => confirmDialog(t("recorder.discard_title"), t("recorder.discard_text"), t("recorder.discard"));
    if (!take || !(await isSure()) || this.take !== take) return;
    try {
      await this.#end().discard();
    } finally {
      this.#dispatchChanged();
    }
  }

  /** The recordings that an earlier page did not finish. */
  interrupted() {
    return this.take ? [] : this.#takes.unfinished();
  }

  async keepInterrupted(found) {
    await this.#addRecording(await this.#takes.audio(found), factsOf(found.seconds, found.begunAt));
    await this.dropInterrupted(found);
  }

  dropInterrupted(found) {
    return this.#takes.remove(found.id);
  }

  /** Show the text while it is spoken. Translations have none, because the socket does not translate. */
  #listen() {
    const options = requestOptions();
    if (options.task === "translate") return;
    this.live = new LiveText(this.take, options);
    this.live.start();
  }

  #end() {
    const { take } = this;
    this.live?.close();
    this.take = this.live = null;
    return take;
  }

  #dispatchChanged() {
    this.dispatchEvent(new Event("changed"));
  }
}

function factsOf(seconds, begunAt) {
  const style = { dateStyle: "medium", timeStyle: "short" };
  const time = new Intl.DateTimeFormat(formatLocale(), style).format(begunAt);
  return { name: t("recorder.name", { time }), source: "microphone", durationS: seconds };
}
