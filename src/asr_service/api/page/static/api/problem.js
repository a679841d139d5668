// A request that failed, in the terms of the API: docs/api.md#errors.

const RETRYABLE = new Set([408, 425, 429, 502, 503]);

export class Problem extends Error {
  /** `retryAfterS` is null if the service did not name a time. A status of 0 means that there was no answer. */
  constructor(status, code, message, retryAfterS = null) {
    super(message);
    this.status = status;
    this.code = code;
    this.retryAfterS = retryAfterS;
  }

  static lost() {
    return new Problem(0, "connection_lost", "The connection to the service is lost.");
  }

  /** Read an answer's error; a proxy may answer in a form of its own. */
  static read(status, body, retryAfter) {
    const seconds = Number.parseFloat(retryAfter ?? "");
    let error = {};
    try {
      error = JSON.parse(body).error ?? {};
    } catch {
      // The status has to do.
    }
    return new Problem(status, error.code ?? `status_${status}`, error.message ?? "", Number.isNaN(seconds) ? null : seconds);
  }

  get isLost() {
    return this.status === 0;
  }

  get needsKey() {
    return this.status === 401;
  }

  /** Whether the same request may succeed later. */
  get isPassing() {
    return this.isLost || RETRYABLE.has(this.status);
  }

  /** What is kept of it in the database. */
  get facts() {
    return { status: this.status, code: this.code, message: this.message };
  }
}
