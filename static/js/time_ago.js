import { say } from "./parts.js";
import { ago } from "./words.js";

const TICK_MS = 5000;

/**
 * Keeps "20 s ago" true.
 *
 *     <time-ago><time datetime="2026-11-22T10:00:00.000Z">20 s ago</time></time-ago>
 */
export class TimeAgo extends HTMLElement {
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #ticking;

  connectedCallback() {
    this.#ticking = setInterval(() => this.#show(), TICK_MS);
  }

  disconnectedCallback() {
    clearInterval(this.#ticking);
  }

  #show() {
    const time = this.querySelector("time");
    if (time) say(time, ago((Date.now() - Date.parse(time.dateTime)) / 1000));
  }
}
