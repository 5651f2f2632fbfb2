import { hasEnded } from "./wire.js";

/** Runs that a page was told of and does not show are remembered, so that it is told of each once; so many of them. */
const TOLD_RUNS = 1000;

/** One page as the connection knows it: what it wants to hear, and how far it has been told. */
export class Page {
  /** How many times in a row the connection looked and had heard nothing of it. */
  silent = 0;
  #port;
  /**
   * The followed runs: the number of the last event that the page has, and whether the connection tells all after it.
   *
   * @type {Map<string, { seq: number, joined: boolean }>}
   */
  #follows = new Map();
  #joined = false;
  /** @type {Set<string>} */
  #shows = new Set();
  /** @type {Set<string>} */
  #told = new Set();
  /** Told since it said last what it shows: it could not know of them when it said so. @type {string[]} */
  #justTold = [];
  /** Runs newer than this one are told; null where none are. @type {string | null} */
  #oldest = null;

  /** @param {MessagePort} port */
  constructor(port) {
    this.#port = port;
  }

  /** The followed runs, each with the number of the last event that the page has. */
  get follows() {
    return Array.from(this.#follows, ([run, { seq }]) => /** @type {const} */ ([run, seq]));
  }

  /** Whether it wants something that only a connection can give which opens from now on. */
  get isWaiting() {
    return !this.#joined || [...this.#follows.values()].some((place) => !place.joined);
  }

  /** @param {import("./messages.js").ToPage} message */
  send(message) {
    this.#port.postMessage(message);
  }

  /**
   * Take in what it wants now; how far it was told of a run is better known here. Gives whether it wants a run less.
   *
   * @param {import("./messages.js").Wish} wish
   */
  take({ follow, shows, newest }) {
    const left = [...this.#follows.keys()].filter((run) => !Object.hasOwn(follow, run));
    for (const run of left) this.#follows.delete(run);
    for (const [run, seq] of Object.entries(follow)) {
      if (!this.#follows.has(run)) this.#follows.set(run, { seq, joined: false });
    }
    this.#shows = new Set([...shows, ...this.#justTold]);
    this.#justTold = [];
    this.#oldest = newest ? shows.reduce((oldest, run) => (run < oldest ? run : oldest), shows[0] ?? "") : null;
    return left.length > 0;
  }

  /** A connection opens in which it takes part. */
  join() {
    this.#joined = true;
    for (const place of this.#follows.values()) place.joined = true;
  }

  /**
   * The connection tells how it goes on with a followed run. A number beyond the last event is of no use.
   *
   * @param {string} run
   * @param {{ head: number, reset: boolean }} hello
   */
  greet(run, { head, reset }) {
    const place = this.#follows.get(run);
    if (!place?.joined || (place.seq <= head && !reset)) return;
    this.#follows.set(run, { seq: 0, joined: reset });
    this.send({ type: "reset", run });
  }

  /**
   * The next event of a followed run.
   *
   * @param {string} name
   * @param {import("./wire.js").Numbered} event
   */
  hear(name, event) {
    const place = this.#follows.get(event.run);
    if (!place?.joined || event.seq <= place.seq) return;
    place.seq = event.seq;
    this.send({ type: "event", name, event });
    const { status } = /** @type {Partial<import("./wire.js").Update>} */ (event);
    if (name === "update" && status && hasEnded(status)) this.#follows.delete(event.run);
  }

  /**
   * The latest update of any run, for a page that shows it, or shall show it since it is new.
   *
   * @param {import("./messages.js").LatestUpdate} update
   */
  see(update) {
    if (this.#isNew(update.run)) this.#tellOf(update.run);
    if (this.#shows.has(update.run)) this.send({ type: "update", update });
  }

  /**
   * The latest update of any run, where events do not come through.
   *
   * @param {import("./messages.js").LatestUpdate} update
   */
  poll(update) {
    if (this.#follows.has(update.run)) this.send({ type: "update", update });
    else this.see(update);
  }

  /** @param {string} run */
  lose(run) {
    if (this.#follows.delete(run)) this.send({ type: "gone", run });
  }

  /** @param {string} run */
  #isNew(run) {
    return this.#oldest !== null && run > this.#oldest && !this.#shows.has(run) && !this.#told.has(run);
  }

  /** From now on it is told what becomes of the run, until it says that it does not show it. @param {string} run */
  #tellOf(run) {
    this.#shows.add(run);
    this.#justTold.push(run);
    this.#told.add(run);
    if (this.#told.size > TOLD_RUNS) this.#told.delete(/** @type {string} */ (this.#told.values().next().value));
  }
}
