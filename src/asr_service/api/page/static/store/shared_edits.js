// The edits of one transcript, which several tabs may change: each tab takes over what the others have stored.

export class SharedEdits {
  #library;
  #id;
  #known;
  #editor;
  #isDirty = false;
  #isRunning = false;
  #runsAgain = false;
  #look = () => this.#run();
  #edited = ({ detail }) => detail === this.#id && this.#run();

  /**
   * `known` are the stored edits that the editor was opened with, or null. `editor` has `edits()`, and
   * `adopt(theirs, base)`, which takes over what another tab has changed since `base`.
   */
  constructor(library, id, known, editor) {
    this.#library = library;
    this.#id = id;
    this.#known = known;
    this.#editor = editor;
    library.addEventListener("edited", this.#edited);
    // A browser may not run a tab in the background.
    for (const type of ["focus", "pageshow"]) addEventListener(type, this.#look);
    this.#run();
  }

  /** Store the edits. */
  changed() {
    this.#isDirty = true;
    return this.#run();
  }

  /** Store the edits although the page closes: there is no time to look for those of other tabs. */
  leave() {
    this.#known = this.#next();
    this.#library.saveEdits(this.#id, this.#known);
  }

  close() {
    this.#library.removeEventListener("edited", this.#edited);
    for (const type of ["focus", "pageshow"]) removeEventListener(type, this.#look);
  }

  get #revision() {
    return this.#known?.revision ?? 0;
  }

  #next() {
    return { ...this.#editor.edits(), revision: this.#revision + 1 };
  }

  /** Run the exchange, one at a time. */
  async #run() {
    this.#runsAgain = true;
    if (this.#isRunning) return;
    this.#isRunning = true;
    try {
      while (this.#runsAgain) await this.#exchange();
    } finally {
      this.#isRunning = false;
    }
  }

  async #exchange() {
    this.#runsAgain = false;
    const edits = this.#isDirty ? this.#next() : null;
    this.#isDirty = false;
    const theirs = await this.#library.exchangeEdits(this.#id, this.#revision, edits);
    if (theirs) {
      this.#editor.adopt(theirs, this.#known);
      this.#known = theirs;
      if (edits) this.#isDirty = this.#runsAgain = true;
    } else if (edits) this.#known = edits;
  }
}
