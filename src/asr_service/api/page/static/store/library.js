// The recordings of this browser: what is known of each, its audio, its transcript, and the edits of that.

/**
 * Dispatches `changed` with the id of a recording that another tab has changed, `edited` with the id of one whose text
 * another tab has edited, and `stored` when what the browser could not store changes.
 */
export class Library extends EventTarget {
  #database;
  #changed;
  #edited;

  constructor(database) {
    super();
    this.#database = database;
    database.addEventListener("changed", () => this.dispatchEvent(new Event("stored")));
    this.#changed = this.#channel("asr-recordings", "changed");
    this.#edited = this.#channel("asr-edits", "edited");
  }

  /** Whether the recordings outlive the page. */
  get isLasting() {
    return this.#database.isLasting;
  }

  /** Whether anything is lost when the page closes. */
  get hasUnsaved() {
    return this.#database.hasUnsaved;
  }

  /** Whether a recording, or a part of it, is lost when the page closes. */
  isUnsaved(id) {
    return this.#database.isUnsaved(id);
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
    this.#changed?.postMessage(item.id);
  }

  saveAudio(id, blob) {
    return this.#database.put("blobs", id, blob);
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

  edits(id) {
    return this.#database.get("edits", id);
  }

  async saveEdits(id, edits) {
    await this.#database.put("edits", id, edits);
    this.#edited?.postMessage(id);
  }

  /**
   * Store `edits` in place of those with the `revision`. Resolves to null, or to the stored edits if these have another
   * revision, because another tab has stored them; then nothing is changed. Without `edits` it only looks.
   */
  async exchangeEdits(id, revision, edits) {
    let other = null;
    await this.#database.update("edits", id, (stored) => {
      other = (stored?.revision ?? 0) === revision ? null : (stored ?? null);
      const isRemoved = !stored && revision > 0;
      return edits && !other && !isRemoved ? edits : undefined;
    });
    if (edits && !other) this.#edited?.postMessage(id);
    return other;
  }

  async remove(id) {
    await Promise.all(["items", "blobs", "transcripts", "edits"].map((store) => this.#database.remove(store, id)));
    this.#changed?.postMessage(id);
  }

  #channel(name, type) {
    if (typeof BroadcastChannel === "undefined") return null;
    const channel = new BroadcastChannel(name);
    channel.onmessage = ({ data }) => this.dispatchEvent(new CustomEvent(type, { detail: data }));
    return channel;
  }
}
