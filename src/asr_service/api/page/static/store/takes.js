// What the microphone records, second by second, so that a reload or a crash loses nothing.

export class Takes {
  #database;

  constructor(database) {
    this.#database = database;
  }

  begin(id, type) {
    return this.#database.put("takes", id, { id, type, begunAt: Date.now(), seconds: 0 });
  }

  /** Keep the next part. `seconds` is the length of the recording up to its end. */
  async append(take, number, chunk, seconds) {
    await this.#database.put("chunks", [take.id, number], chunk);
    await this.#database.put("takes", take.id, { ...take, seconds });
  }

  /** Return the recordings that were not finished, the newest first. */
  async unfinished() {
    const takes = await this.#database.all("takes");
    return takes.sort((one, other) => other.begunAt - one.begunAt);
  }

  /** Return the whole recording. */
  async audio(take) {
    return new Blob(await this.#database.allOf("chunks", take.id), { type: take.type });
  }

  async remove(id) {
    await this.#database.removeAllOf("chunks", id);
    await this.#database.remove("takes", id);
  }
}
