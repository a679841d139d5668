// A database of the browser (IndexedDB) with promises. Keys are strings, or lists that begin with a string.

const NAME = "asr-service";
const VERSION = 1;
export const STORES = Object.freeze(["items", "blobs", "transcripts", "edits", "takes", "chunks"]);

/** Open the database. Where the browser has none, as in some private windows, the data is kept until the page closes. */
export async function openDatabase() {
  try {
    return new BrowserDatabase(await open());
  } catch {
    return new MemoryDatabase();
  }
}

function open() {
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

function after(prefix) {
  return IDBKeyRange.bound([prefix], [prefix, []]); // a list is greater than every number
}

class BrowserDatabase {
  isLasting = true;

  constructor(database) {
    this.database = database;
    database.onversionchange = () => database.close();
  }

  get(store, key) {
    return settled(this.#store(store, "readonly").get(key));
  }

  all(store) {
    return settled(this.#store(store, "readonly").getAll());
  }

  /** Return the values whose key is a list that begins with `prefix`, in the order of their keys. */
  allOf(store, prefix) {
    return settled(this.#store(store, "readonly").getAll(after(prefix)));
  }

  /** Resolves when the value is on the disk. */
  put(store, key, value) {
    const transaction = this.database.transaction(store, "readwrite");
    transaction.objectStore(store).put(value, key);
    return new Promise((resolve, reject) => {
      transaction.oncomplete = () => resolve();
      transaction.onerror = transaction.onabort = () => reject(transaction.error);
    });
  }

  remove(store, key) {
    return settled(this.#store(store, "readwrite").delete(key));
  }

  removeAllOf(store, prefix) {
    return settled(this.#store(store, "readwrite").delete(after(prefix)));
  }

  #store(name, mode) {
    return this.database.transaction(name, mode).objectStore(name);
  }
}

class MemoryDatabase {
  isLasting = false;
  #stores = new Map(STORES.map((store) => [store, new Map()]));

  async get(store, key) {
    return this.#stores.get(store).get(JSON.stringify(key));
  }

  async all(store) {
    return [...this.#stores.get(store).values()];
  }

  async allOf(store, prefix) {
    return this.#keysOf(store, prefix).map((key) => this.#stores.get(store).get(key));
  }

  async put(store, key, value) {
    this.#stores.get(store).set(JSON.stringify(key), value);
  }

  async remove(store, key) {
    this.#stores.get(store).delete(JSON.stringify(key));
  }

  async removeAllOf(store, prefix) {
    this.#keysOf(store, prefix).forEach((key) => this.#stores.get(store).delete(key));
  }

  #keysOf(store, prefix) {
    const number = (key) => JSON.parse(key)[1];
    const keys = [...this.#stores.get(store).keys()].filter((key) => JSON.parse(key)[0] === prefix);
    return keys.sort((one, other) => number(one) - number(other));
  }
}
