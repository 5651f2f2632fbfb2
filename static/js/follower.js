import { Line } from "./line.js";
import { Presence } from "./presence.js";

const HERE_EVERY_MS = 10_000;

/**
 * @typedef {Exclude<import("./messages.js").ToPage, { type: "connection" | "heard" | "full" }>
 *   | { type: "connection", connection: import("./wire.js").Connection }} Told
 */

/**
 * Hears of runs for an element of a page, as long as somebody can see the page.
 *
 *     const follower = new Follower({ wish: () => ({ follow: { [run]: seq }, shows: [], newest: false }), hear });
 *     follower.start();  // hear({ type: "event", name: "row", event: {...} }), hear({ type: "connection", ... }), ...
 *     follower.stop();
 */
export class Follower {
  #wish;
  #hear;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #ticking;
  /** @type {import("./wire.js").Connection["kind"]} */
  #kind = "connecting";
  #line = new Line((message) => this.#take(message));
  #presence = new Presence({ here: () => this.#begin(), away: () => this.#leave() });

  /**
   * @param {object} options
   * @param {() => import("./messages.js").Wish} options.wish what to hear, as things stand
   * @param {(told: Told) => void} options.hear
   */
  constructor({ wish, hear }) {
    this.#wish = wish;
    this.#hear = hear;
  }

  start() {
    this.#presence.start();
  }

  stop() {
    this.#presence.stop();
  }

  /** The wish has changed. */
  renew() {
    if (this.#ticking) this.#line.say({ type: "here", wish: this.#wish() });
  }

  #begin() {
    clearInterval(this.#ticking);
    this.#ticking = setInterval(() => this.renew(), HERE_EVERY_MS);
    this.#line.say({ type: "follow", wish: this.#wish() });
  }

  #leave() {
    clearInterval(this.#ticking);
    this.#ticking = undefined;
    this.#line.close();
  }

  /** @param {import("./messages.js").ToPage} message */
  #take(message) {
    if (message.type === "connection") this.#tell(message.kind, message.retryInMs);
    else if (message.type !== "heard" && message.type !== "full") this.#hear(message);
  }

  /**
   * @param {import("./wire.js").Connection["kind"]} kind
   * @param {number} [retryInMs]
   */
  #tell(kind, retryInMs) {
    if (kind === this.#kind && retryInMs === undefined) return;
    this.#kind = kind;
    const retryAt = retryInMs === undefined ? undefined : performance.now() + retryInMs;
    this.#hear({ type: "connection", connection: { kind, retryAt } });
  }
}
