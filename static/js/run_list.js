import { setBar } from "./bar.js";
import { say } from "./parts.js";
import { Presence } from "./presence.js";
import { hasEnded, updateOf } from "./wire.js";
import { statusWord, tone } from "./words.js";

const LOOK_EVERY_MS = 2000;
/** As many as the server lists in one answer. */
const MOST_RUNS = 200;

/**
 * Keeps the runs of a list up to date that still go on (those with `data-run`), while somebody looks at it. It asks
 * every two seconds rather than hold one of the browser's six connections.
 *
 *     <run-list><ol><li data-run="/api/v1/runs/01..."><span class="status">Running</span> ...</li></ol></run-list>
 */
export class RunList extends HTMLElement {
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  #presence = new Presence({ here: () => this.#wait(), away: () => clearTimeout(this.#timer) });

  connectedCallback() {
    this.#presence.start();
  }

  disconnectedCallback() {
    this.#presence.stop();
  }

  #wait() {
    clearTimeout(this.#timer);
    if (!document.hidden && this.querySelector("[data-run]")) this.#timer = setTimeout(() => this.#look(), LOOK_EVERY_MS);
  }

  async #look() {
    const answer = await fetch(`/api/v1/runs?limit=${MOST_RUNS}`).catch(() => null);
    if (answer?.ok) {
      /** @type {{ runs: import("./wire.js").Run[] }} */
      const { runs } = await answer.json();
      for (const run of runs) this.#show(run);
    }
    if (answer?.status !== 401) this.#wait();
  }

  /** @param {import("./wire.js").Run} run */
  #show(run) {
    const item = this.querySelector(`[data-run="${CSS.escape(run.url)}"]`);
    const status = item?.querySelector(".status");
    if (!(item instanceof HTMLElement) || !(status instanceof HTMLElement)) return;
    item.dataset.tone = status.dataset.tone = tone(run);
    say(status, statusWord(run));
    const bar = item.querySelector("[role=progressbar]");
    if (bar) setBar(bar, updateOf(run));
    if (!hasEnded(run.status)) return;
    bar?.remove();
    delete item.dataset.run;
  }
}
