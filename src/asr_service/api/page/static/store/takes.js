// What the microphone records, second by second, so that a reload or a crash loses nothing.

const LOCK = "asr-take-";

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

  /** Mark a recording as being made in this tab. Returns what ends that; the end of the tab ends it too. */
  hold(id) {
    let release = () => {};
    navigator.locks?.request(LOCK + id, () => new Promise((resolve) => (release = resolve)));
    return () => release();
  }

  /** Return the recordings that were not finished and that no tab is making, the newest first. */
  async unfinished() {
    const { held = [] } = (await navigator.locks?.query()) ?? {};
    const names = new Set(held.map((lock) => lock.name));
    const takes = (await this.#database.all("takes")).filter(({ id }) => !names.has(LOCK + id));
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
