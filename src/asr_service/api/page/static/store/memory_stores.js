// Values that the browser could not store, by their store and their key.

export class MemoryStores {
  #stores;

  constructor(names) {
    this.#stores = new Map(names.map((name) => [name, new Map()]));
  }

  get isEmpty() {
    return this.entries().length === 0;
  }

  /** Return whether there is a value by this key in any store. */
  knows(key) {
    return [...this.#stores.values()].some((values) => values.has(JSON.stringify(key)));
  }

  has(store, key) {
    return this.#stores.get(store).has(JSON.stringify(key));
  }

  get(store, key) {
    return this.#stores.get(store).get(JSON.stringify(key));
  }

  put(store, key, value) {
    this.#stores.get(store).set(JSON.stringify(key), value);
  }

  remove(store, key) {
    this.#stores.get(store).delete(JSON.stringify(key));
  }

  /** Remove the values whose key is a list that begins with `prefix`. */
  removeAllOf(store, prefix) {
    for (const [key] of this.#entriesOf(store)) if (key[0] === prefix) this.remove(store, key);
  }

  /** Return [store, key, value] of all values. */
  entries() {
    return [...this.#stores.keys()].flatMap((store) => this.#entriesOf(store).map((entry) => [store, ...entry]));
  }

  /** Return values in the order of their keys: those of `stored`, [key, value] each, and the newer ones in memory. */
  mergedWith(store, stored, prefix = null) {
    const isWanted = (key) => prefix === null || key[0] === prefix;
    const own = this.#entriesOf(store).filter(([key]) => isWanted(key));
    const rest = stored.filter(([key]) => !this.has(store, key));
    const all = [...rest, ...own];
    if (prefix !== null) all.sort(([[, one]], [[, other]]) => one - other);
    return all.map(([, value]) => value);
  }

  #entriesOf(store) {
    return [...this.#stores.get(store)].map(([key, value]) => [JSON.parse(key), value]);
  }
}
