import { follow } from "./follow.js";

const TICK_MS = 1000;

const WORDS = {
  connecting: "",
  live: "",
  lost: "Connection lost, retrying",
  busy: "The server is busy, trying again",
  polling: "No live stream here: looking every 5 s",
  unauthorized: "You are logged out.",
  gone: "This run was deleted.",
  incomplete: "The run has ended.",
  ended: "",
};

/**
 * How the page's connection is, where that matters to the reader: "Connection lost, retrying in 4 s". The seconds are
 * kept from screen readers, which would read them out one by one.
 *
 * What stands in it for those without scripts goes.
 *
 *     <run-connection>As it was when loaded. <a href="/runs/01...">Load it again</a></run-connection>
 */
export class RunConnection extends HTMLElement {
  #stop = () => {};
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #ticking;
  #words = document.createElement("span");
  #seconds = document.createElement("span");

  connectedCallback() {
    this.#words.setAttribute("role", "status");
    this.#seconds.ariaHidden = "true";
    this.replaceChildren(this.#words, this.#seconds);
    this.#stop = follow(this, { connection: (connection) => this.#show(connection) });
  }

  disconnectedCallback() {
    this.#stop();
    clearInterval(this.#ticking);
  }

  /** @param {import("./wire.js").Connection} connection */
  #show({ kind, retryAt }) {
    clearInterval(this.#ticking);
    this.dataset.kind = kind;
    this.#words.textContent = WORDS[kind];
    this.#seconds.textContent = "";
    if (kind === "unauthorized") this.#offer("Log in again", `/login?next=${encodeURIComponent(location.pathname)}`);
    if (kind === "incomplete") this.#offer("Load the page again for all of it", location.pathname);
    if (retryAt === undefined) return;
    this.#count(retryAt);
    this.#ticking = setInterval(() => this.#count(retryAt), TICK_MS);
  }

  /** @param {number} retryAt */
  #count(retryAt) {
    const left = Math.max(0, Math.ceil((retryAt - performance.now()) / 1000));
    this.#seconds.textContent = left > 0 ? `in ${left} s` : "now";
  }

  /**
   * @param {string} text
   * @param {string} href
   */
  #offer(text, href) {
    const link = document.createElement("a");
    link.href = href;
    link.textContent = text;
    this.#words.append(" ", link);
  }
}
