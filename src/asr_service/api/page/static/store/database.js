// The page's database. It is the browser's (IndexedDB); what that cannot store is kept in memory, until the page closes.
// Keys are strings, or lists of a string and a number.

import { MemoryStores } from "./memory_stores.js";

const NAME = "asr-service";
const VERSION = 1;
const STORES = Object.freeze(["items", "blobs", "transcripts", "edits", "takes", "chunks"]);

/** Open the database. A browser may have none, as in some private windows. */
export async function openDatabase() {
  const disk = await open().catch(() => null);
  return new Database(disk && new BrowserStores(disk));
}

async function open() {
  const request = indexedDB.open(NAME, VERSION);
  request.onupgradeneeded = () => STORES.forEach((store) => request.result.createObjectStore(store));
  return settled(request);
}

function settled(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
    request.onblocked = () => reject(new Error("another version of the page has the database"));
  });
}

function completed(transaction) {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onerror = transaction.onabort = () => reject(transaction.error ?? new Error("aborted"));
  });
}

function after(prefix) {
  return IDBKeyRange.bound([prefix], [prefix, []]); // a list is greater than every number
}

/** Dispatches `changed` when a value could not be stored, or could be stored after all. */
class Database extends EventTarget {
  #disk;
  #memory = new MemoryStores(STORES);
  #turns = new Map();

  constructor(disk) {
    super();
    this.#disk = disk;
  }

  /** Whether the browser stores anything. */
  get isLasting() {
    return this.#disk !== null;
  }

  /** Whether something is lost when the page closes. */
  get hasUnsaved() {
    return !this.#memory.isEmpty;
  }

  /** Whether what is kept by this key is lost when the page closes, in any store. */
  isUnsaved(key) {
    return this.#memory.knows(key);
  }

  async get(store, key) {
    return this.#memory.has(store, key) ? this.#memory.get(store, key) : this.#read((disk) => disk.get(store, key));
  }

  /** Return the values of a store. */
  async all(store) {
    return this.#memory.mergedWith(store, (await this.#read((disk) => disk.all(store))) ?? []);
  }

  /** Return the values whose key is a list that begins with `prefix`, in the order of their keys. */
  async allOf(store, prefix) {
    const stored = await this.#read((disk) => disk.all(store, after(prefix)));
    return this.#memory.mergedWith(store, stored ?? [], prefix);
  }

  /** Resolves when the value is on the disk, or else in memory. */
  async put(store, key, value) {
    const turn = this.#begin(store, key);
    const isStored = await this.#write(store, key, value);
    if (turn.isLatest()) this.#keep(store, key, value, isStored);
  }

  /** Replace a value by `change(value)` in one step, also for other tabs. Undefined means no change. */
  async update(store, key, change) {
    if (this.#disk && !this.#memory.has(store, key)) {
      try {
        await this.#disk.update(store, key, change);
        return;
      } catch {
        // Then in memory.
      }
    }
    const value = change(await this.get(store, key));
    if (value !== undefined) await this.put(store, key, value);
  }

  async remove(store, key) {
    this.#turns.delete(JSON.stringify([store, key]));
    this.#memory.remove(store, key);
    await this.#read((disk) => disk.remove(store, key));
    await this.#settle();
  }

  async removeAllOf(store, prefix) {
    this.#memory.removeAllOf(store, prefix);
    await this.#read((disk) => disk.remove(store, after(prefix)));
    await this.#settle();
  }

  /** Ask the disk. Of a database that the user has deleted meanwhile, nothing is left. */
  async #read(ask) {
    try {
      return await (this.#disk && ask(this.#disk));
    } catch {
      return undefined;
    }
  }

  /** Begin a write. Only the outcome of the latest one of a key counts. */
  #begin(store, key) {
    const name = JSON.stringify([store, key]);
    const turn = {};
    this.#turns.set(name, turn);
    turn.isLatest = () => this.#turns.get(name) === turn && this.#turns.delete(name);
    return turn;
  }

  async #write(store, key, value) {
    try {
      await this.#disk?.put(store, key, value);
      return this.#disk !== null;
    } catch {
      return false;
    }
  }

  #keep(store, key, value, isStored) {
    if (!isStored) this.#memory.put(store, key, value);
    else if (!this.#memory.has(store, key)) return;
    else this.#memory.remove(store, key);
    this.dispatchEvent(new Event("changed"));
  }

  /** Store what is in memory: there may be room again. */
  async #settle() {
    if (this.#disk) for (const [store, key, value] of this.#memory.entries()) await this.put(store, key, value);
  }
}

class BrowserStores {
  #database;

  constructor(database) {
    this.#database = database;
    database.onversionchange = () => database.close();
  }

  async get(store, key) {
    return settled(this.#open(store, "readonly").get(key));
  }

  /** Return [key, value] of all values, or of those in a range of keys. */
  async all(store, range = null) {
    const values = this.#open(store, "readonly");
    const [keys, found] = await Promise.all([settled(values.getAllKeys(range)), settled(values.getAll(range))]);
    return keys.map((key, index) => [key, found[index]]);
  }

  /** Resolves when the value is on the disk. */
  put(store, key, value) {
    return this.#commit(store, (values) => values.put(value, key));
  }

  async update(store, key, change) {
    const values = this.#open(store, "readwrite");
    const found = values.get(key);
    found.onsuccess = () => {
      const value = change(found.result);
      if (value !== undefined) values.put(value, key);
    };
    return completed(values.transaction);
  }

  /** Resolves when nothing of it is on the disk. */
  remove(store, keys) {
    return this.#commit(store, (values) => values.delete(keys));
  }

  async #commit(store, change) {
    const values = this.#open(store, "readwrite");
    change(values);
    values.transaction.commit?.(); // at once: the page may be about to close
    return completed(values.transaction);
  }

  #open(name, mode) {
    return this.#database.transaction(name, mode).objectStore(name);
  }
}
