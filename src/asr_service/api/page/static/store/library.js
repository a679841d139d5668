// The recordings of this browser: what is known of each, its audio, its transcript, and the edits of that.

/** Dispatches `changed` with the id of a recording that another tab has changed. */
export class Library extends EventTarget {
  #database;
  #channel;

  constructor(database) {
    super();
    this.#database = database;
    this.#channel = typeof BroadcastChannel === "undefined" ? null : new BroadcastChannel("asr-recordings");
    if (this.#channel) {
      this.#channel.onmessage = ({ data }) => this.dispatchEvent(new CustomEvent("changed", { detail: data }));
    }
  }

  /** Whether the recordings outlive the page. */
  get isLasting() {
    return this.#database.isLasting;
  }

  /** Return all recordings, the newest first. */
  async list() {
    const items = await this.#database.all("items");
    return items.sort((one, other) => other.addedAt - one.addedAt);
  }

  find(id) {
    return this.#database.get("items", id);
  }

  async save(item) {
    await this.#database.put("items", item.id, item);
    this.#channel?.postMessage(item.id);
  }

  /** Store the audio. Resolves to whether it was stored: a browser may have too little space. */
  async saveAudio(id, blob) {
    try {
      await this.#database.put("blobs", id, blob);
      return true;
    } catch {
      return false;
    }
  }

  audio(id) {
    return this.#database.get("blobs", id);
  }

  saveTranscript(id, transcript) {
    return this.#database.put("transcripts", id, transcript);
  }

  transcript(id) {
    return this.#database.get("transcripts", id);
  }

  saveEdits(id, edits) {
    return this.#database.put("edits", id, edits);
  }

  edits(id) {
    return this.#database.get("edits", id);
  }

  async remove(id) {
    await Promise.all(["items", "blobs", "transcripts", "edits"].map((store) => this.#database.remove(store, id)));
    this.#channel?.postMessage(id);
  }
}
