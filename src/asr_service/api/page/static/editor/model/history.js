// The changes of a document, for undo and redo. A change is {at, removed, inserted}: where it begins, and two lists.

const MAX_UNDO = 500;

export class History {
  #undo = [];
  #redo = [];

  get canUndo() {
    return this.#undo.length > 0;
  }

  get canRedo() {
    return this.#redo.length > 0;
  }

  /** Add a change. Successive changes of one place with the same `group` are undone at once. */
  add(change, group) {
    const last = this.#undo.at(-1);
    const { at, removed, inserted } = change;
    const joins = group !== null && last?.group === group && last.at === at && last.inserted.length === removed.length;
    if (joins) this.#undo[this.#undo.length - 1] = { ...last, inserted };
    else this.#undo.push({ ...change, group });
    if (this.#undo.length > MAX_UNDO) this.#undo.shift();
    this.#redo = [];
  }

  /** Return the inverse of the last change, or null. */
  undo() {
    return step(this.#undo, this.#redo);
  }

  /** Return the last change that was undone, or null. */
  redo() {
    return step(this.#redo, this.#undo);
  }
}

function step(from, to) {
  const change = from.pop();
  if (!change) return null;
  const inverse = { at: change.at, removed: change.inserted, inserted: change.removed };
  to.push({ ...inverse, group: null });
  return inverse;
}
