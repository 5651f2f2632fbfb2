import { setBar } from "./bar.js";
import { Follower } from "./follower.js";
import { merge } from "./merge.js";
import { paced } from "./paced.js";
import { inside, part, say } from "./parts.js";
import { redraw, serverParts } from "./server_part.js";
import { hasEnded } from "./wire.js";
import { statusWord, tone } from "./words.js";

/** However many runs come and end: a list is drawn anew at most so often. */
const REDRAW_EVERY_MS = 2000;

/** @typedef {import("./messages.js").LatestUpdate} LatestUpdate */

/**
 * Keeps the runs of a list up to date, while somebody looks at it. What only the server can draw (a run that is new,
 * how long one took that has ended) it draws anew; other items stay as they are. A list that begins with the newest of
 * all runs is `newest`.
 *
 *     <run-list newest>
 *       <run-connection></run-connection>
 *       <div data-part="runs"><ol><li data-run="01..."><span class="status">Running</span> ...</li></ol></div>
 *     </run-list>
 */
export class RunList extends HTMLElement {
  /** What has changed and is not shown yet, by run. @type {Map<string, LatestUpdate>} */
  #waiting = new Map();
  #show = paced(() => this.#showWaiting());
  #redraw = paced(() => this.#drawAnew(), REDRAW_EVERY_MS);
  #isDrawing = false;
  #connected = new AbortController();
  #follower = new Follower({
    wish: () => ({
      follow: {},
      shows: [...this.#items().keys(), ...this.#waiting.keys()],
      newest: this.hasAttribute("newest"),
    }),
    hear: (told) => this.#hear(told),
  });

  connectedCallback() {
    this.#connected = new AbortController();
    this.#follower.start();
  }

  disconnectedCallback() {
    this.#follower.stop();
    this.#connected.abort();
  }

  /** @param {Document} page the same page, as the server draws it now */
  drawFrom(page) {
    const newer = page.querySelector("run-list");
    if (!(newer instanceof HTMLElement)) return;
    const [mine, theirs] = [part(this, "runs"), part(newer, "runs")];
    const [list, newerList] = [mine.querySelector("ol"), theirs.querySelector("ol")];
    if (list && newerList) merge(list, newerList, { key: "run", keep: takeTime });
    else mine.replaceChildren(...document.importNode(theirs, true).childNodes);
  }

  /** @param {import("./follower.js").Told} told */
  #hear(told) {
    if (told.type === "connection") {
      this.dispatchEvent(new CustomEvent("run:connection", { detail: told.connection, bubbles: true }));
    } else if (told.type === "update") {
      this.#waiting.set(told.update.run, told.update);
      this.#show();
    }
  }

  #showWaiting() {
    const items = this.#items();
    for (const [run, update] of this.#waiting) {
      const item = items.get(run);
      if (item) this.#waiting.delete(run);
      if (!item || show(item, update)) this.#redraw();
    }
  }

  async #drawAnew() {
    if (this.#isDrawing) return this.#redraw();
    this.#isDrawing = true;
    const missing = [...this.#waiting.keys()];
    await redraw([this, ...serverParts(document)], this.#connected.signal);
    this.#isDrawing = false;
    const items = this.#items();
    for (const run of missing) if (!items.has(run)) this.#waiting.delete(run); // it does not belong here
    this.#follower.renew();
    this.#show();
  }

  /** @returns {Map<string, HTMLElement>} by run */
  #items() {
    const items = /** @type {NodeListOf<HTMLElement>} */ (this.querySelectorAll("[data-run]"));
    return new Map(Array.from(items, (item) => [item.dataset.run ?? "", item]));
  }
}

/**
 * Show in an item where its run is. Gives whether it has ended by that.
 *
 * @param {HTMLElement} item
 * @param {LatestUpdate} update
 */
function show(item, update) {
  const status = inside(item, ".status");
  item.dataset.tone = status.dataset.tone = tone(update);
  say(status, statusWord(update));
  const bar = item.querySelector("[role=progressbar]");
  if (!bar) return false;
  setBar(bar, update);
  if (hasEnded(update.status)) inside(item, ".runs-bar").replaceChildren(); // a space in it would be a row on a phone
  return hasEnded(update.status);
}

/**
 * @param {Element} item
 * @param {Element} newer the same run's, as the server draws it now
 */
function takeTime(item, newer) {
  const [took, newerTook] = [item, newer].map((one) => one.querySelector(".runs-took"));
  if (took && newerTook) say(took, newerTook.textContent ?? "");
}
