import { Connection } from "./connection.js";
import { Page } from "./page.js";

/** What several pages want at almost the same time is one opening: a page goes, the next comes. */
const SETTLE_MS = 30;
const LOOK_EVERY_MS = 10_000;
/** A page says every 10 s that it is here. One that was silent at so many looks is closed, crashed or frozen. */
const SILENT_LOOKS = 3;
/** As many as the server follows in one stream. */
const MOST_FOLLOWED = 50;

/**
 * All pages that share one connection. Each says what it wants to hear; the connection follows what any of them wants,
 * from the lowest number of any, and each page is told what it has not had.
 *
 *     const pages = new Pages();
 *     pages.add(port);  // from then on the page at the other end of the port says when it is there and what it wants
 */
export class Pages {
  /** @type {Map<MessagePort, Page>} */
  #pages = new Map();
  #connection = new Connection({
    join: () => this.#join(),
    greeted: (hello) => this.#greet(hello),
    heard: (name, event) => this.#hear(name, event),
    polled: (update) => this.#pages.forEach((page) => page.poll(update)),
    gone: (run) => this.#pages.forEach((page) => page.lose(run)),
    changed: (state) => this.#pages.forEach((page) => tell(page, state)),
  });
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #settling;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #looking;

  /** @param {MessagePort} port */
  add(port) {
    port.addEventListener("message", (event) => this.#listen(port, event.data));
    port.start();
  }

  /**
   * @param {MessagePort} port
   * @param {import("./messages.js").FromPage} message
   */
  #listen(port, message) {
    if (message.type === "bye") return this.#forget(port);
    const page = this.#pages.get(port) ?? new Page(port);
    page.silent = 0;
    const wantsLess = page.take(message.wish);
    if (!this.#pages.has(port)) {
      if (!this.#hasRoomFor(page)) return page.send({ type: "full" });
      this.#admit(port, page);
    }
    page.send({ type: "heard" });
    const { isOpen } = this.#connection;
    if (page.isWaiting || (isOpen ? wantsLess : message.type === "follow")) this.#openSoon();
  }

  /** @param {Page} page */
  #hasRoomFor(page) {
    return new Set([...this.#followed().keys(), ...page.follows.map(([run]) => run)]).size <= MOST_FOLLOWED;
  }

  /**
   * @param {MessagePort} port
   * @param {Page} page
   */
  #admit(port, page) {
    const { state } = this.#connection;
    this.#pages.set(port, page);
    if (state.kind !== "unauthorized") tell(page, state); // else it may come from the login: it is tried again now
    this.#looking ??= setInterval(() => this.#look(), LOOK_EVERY_MS);
  }

  /** @param {MessagePort} port */
  #forget(port) {
    const page = this.#pages.get(port);
    if (!page) return;
    this.#pages.delete(port);
    if (this.#pages.size === 0) this.#closeSoon();
    else if (this.#connection.isOpen && page.follows.length > 0) this.#openSoon();
  }

  /** Looks are counted, not seconds: a computer that wakes up finds all pages silent for hours. */
  #look() {
    for (const [port, page] of this.#pages) if (++page.silent > SILENT_LOOKS) this.#forget(port);
  }

  #openSoon() {
    this.#settle(() => this.#connection.open());
  }

  #closeSoon() {
    clearInterval(this.#looking);
    this.#looking = undefined;
    this.#settle(() => this.#connection.close());
  }

  /** @param {() => void} act */
  #settle(act) {
    clearTimeout(this.#settling);
    this.#settling = setTimeout(act, SETTLE_MS);
  }

  /** The runs that any page follows, each with the lowest number of any. @returns {Map<string, number>} */
  #followed() {
    const followed = new Map();
    for (const page of this.#pages.values()) {
      for (const [run, seq] of page.follows) followed.set(run, Math.min(seq, followed.get(run) ?? seq));
    }
    return followed;
  }

  #join() {
    for (const page of this.#pages.values()) page.join();
    return this.#followed();
  }

  /** @param {import("./wire.js").Hello} hello */
  #greet({ follow, gone }) {
    for (const page of this.#pages.values()) {
      for (const [run, place] of Object.entries(follow)) page.greet(run, place);
      for (const run of gone) page.lose(run);
      if (page.isWaiting) this.#openSoon();
    }
  }

  /**
   * @param {string} name
   * @param {import("./wire.js").Numbered} event
   */
  #hear(name, event) {
    for (const page of this.#pages.values()) {
      page.hear(name, event);
      if (name === "update") page.see(/** @type {import("./messages.js").LatestUpdate} */ (event));
    }
  }
}

/**
 * Tell a page how the connection is. Its clock is not ours, so it gets the time that is left.
 *
 * @param {Page} page
 * @param {import("./connection.js").State} state
 */
function tell(page, { kind, retryAt }) {
  page.send({ type: "connection", kind, retryInMs: retryAt && Math.max(0, retryAt - performance.now()) });
}
