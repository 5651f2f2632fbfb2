const LONGEST_MS = 30_000;

/** A stream that lasted this long was a good one: the next loss starts again with short waits. */
const GOOD_AFTER_MS = 30_000;

/** The range of the server's `retry:` field, which an EventSource does not show to its page. */
const FIRST_MS = { least: 1000, most: 3000 };

/** How long to wait before a lost stream is opened again: longer each time, and never in step with other pages. */
export class Backoff {
  #failures = 0;
  /** @type {number | null} */
  #goodSince = null;

  /** The stream is open and has said hello. One that was closed in between for our own reasons was as good as this. */
  opened() {
    this.#goodSince ??= performance.now();
  }

  /** The stream was lost, or did not open; gives the milliseconds to wait (full jitter). */
  failed() {
    if (this.#goodSince !== null && performance.now() - this.#goodSince >= GOOD_AFTER_MS) this.#failures = 0;
    this.#goodSince = null;
    const longest = Math.min(LONGEST_MS, between(FIRST_MS) * 2 ** this.#failures++);
    return Math.random() * longest;
  }

  /** The wait after an orderly `bye`, in milliseconds. */
  afterBye() {
    return between(FIRST_MS);
  }
}

/** @param {{ least: number, most: number }} range */
export function between({ least, most }) {
  return least + Math.random() * (most - least);
}
