import { setBar } from "./bar.js";
import { follow } from "./follow.js";
import { paced } from "./paced.js";
import { inside, part, say } from "./parts.js";
import { hasEnded } from "./wire.js";
import { duration, headline, percent, tone } from "./words.js";

const TICK_MS = 1000;

/**
 * Bar, percent, step, message, time: how far a run is. `worked` is how many seconds it has worked when the page was
 * drawn, which spares us the difference between the server's clock and ours.
 *
 *     <run-progress worked="12.5">
 *       <p data-part="step">Fetching</p> <p data-part="message">21 of 50</p> <span data-part="percent">42</span>
 *       <div role="progressbar">...</div>
 *       <span data-part="elapsed"></span> <span data-part="eta"></span> <p role="status" data-part="said"></p>
 *     </run-progress>
 */
export class RunProgress extends HTMLElement {
  #stop = () => {};
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #ticking;
  /** @type {import("./wire.js").Update | null} */
  #update = null;
  /** When the run began, on the clock of performance.now(). @type {number | null} */
  #begun = null;
  #paint = paced(() => this.#show());

  connectedCallback() {
    const worked = this.getAttribute("worked");
    if (worked !== null) this.#begun = performance.now() - Number(worked) * 1000;
    if (this.hasAttribute("ended")) return;
    this.#ticking = setInterval(() => this.#tick(), TICK_MS);
    this.#stop = follow(this, { update: (update) => this.#take(update) });
  }

  disconnectedCallback() {
    this.#stop();
    clearInterval(this.#ticking);
  }

  /** @param {import("./wire.js").Update} update */
  #take(update) {
    this.#update = update;
    if (update.status === "processing") this.#begun ??= performance.now();
    this.#paint();
  }

  #show() {
    const update = this.#update;
    if (!update) return;
    this.dataset.tone = tone(update);
    setBar(inside(this, "[role=progressbar]"), update);
    say(part(this, "step"), headline(update));
    say(part(this, "message"), update.error ? "" : (update.message ?? ""));
    say(part(this, "percent"), percent(update.progress));
    say(part(this, "said"), headline(update)); // steps and ends are read out, percents and messages are not
    this.#showLeft(update);
    if (hasEnded(update.status)) {
      clearInterval(this.#ticking);
      this.#tick();
    }
  }

  /** @param {import("./wire.js").Update} update */
  #showLeft({ status, eta_s, cancelling }) {
    const known = status === "processing" && !cancelling && eta_s !== undefined;
    say(part(this, "eta"), known ? `· about ${duration(eta_s)} left` : "");
  }

  #tick() {
    if (this.#begun !== null) say(part(this, "elapsed"), duration((performance.now() - this.#begun) / 1000));
  }
}
