import { Backoff, between } from "./backoff.js";
import { updateOf } from "./wire.js";

const EVENTS_URL = "/api/v1/events";
const RUNS_URL = "/api/v1/runs";
/** Two heartbeats and this without a frame: the connection is dead, whatever the browser thinks. */
const SILENCE_MARGIN_MS = 5000;
/** Until a hello says how often the heart beats. */
const HEARTBEAT_S = 15;
const HELLO_WITHIN_MS = 10_000;
/** So many opened streams without a hello: something on the way holds streams back. */
const HELLOS_MISSED = 3;
const POLL_EVERY_MS = 5000;
/** While polling, a stream is tried again once a minute. */
const POLLS_BEFORE_STREAM = 12;
/** As many as the server lists in one answer, and as many as a stream begins with. */
const MOST_RUNS = 200;
const BUSY_MS = { least: 10_000, most: 20_000 };
const ASK_WITHIN_MS = 10_000;

const EVENTS = ["message", "error", "hello", "heartbeat", "plan", "log", "output", "row", "busy", "bye"];

/**
 * @typedef {{ kind: import("./wire.js").Connection["kind"], retryAt?: number }} State
 *
 * @typedef {object} Listener
 * @property {() => Map<string, number>} join called whenever it opens or polls: everybody takes part from now on; gives
 *   the runs to follow, each with the number of the last event that is known
 * @property {(hello: import("./wire.js").Hello) => void} greeted
 * @property {(name: string, event: import("./wire.js").Numbered) => void} heard the next event of a followed run, or
 *   the latest update of any other
 * @property {(update: import("./messages.js").LatestUpdate) => void} polled
 * @property {(run: string) => void} gone
 * @property {(state: State) => void} changed
 */

/**
 * The stream of all runs: an EventSource, and everything that can go wrong with one.
 *
 * It owns the retries, since neither Chromium nor Firefox backs off by itself and both give up for good after one
 * 502; so every error closes the source, and a new one is opened with what is to be followed then.
 *
 *     const connection = new Connection(listener);
 *     connection.open();
 *     connection.close();
 */
export class Connection {
  #listener;
  #backoff = new Backoff();
  /** @type {EventSource | null} */
  #source = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  /** Aborted by #disconnect(), so that an answer which comes later counts no more. */
  #attempt = new AbortController();
  #silenceMs = 0;
  #greeted = false;
  #hellosMissed = 0;
  /** @type {State} */
  #state = { kind: "connecting" };

  /** @param {Listener} listener */
  constructor(listener) {
    this.#listener = listener;
  }

  get state() {
    return this.#state;
  }

  /** Whether there is a stream, or one is about to begin. */
  get isOpen() {
    return this.#source !== null;
  }

  /** Connect now, in place of any connection or wait that there was. */
  open() {
    this.#disconnect();
    if (this.#state.kind === "unauthorized") this.#become({ kind: "connecting" });
    this.#greeted = false;
    this.#source = new EventSource(streamUrl(this.#listener.join()));
    for (const name of EVENTS) this.#source.addEventListener(name, this);
    this.#after(HELLO_WITHIN_MS, () => this.#missHello());
  }

  /** Disconnect until the next open(). */
  close() {
    this.#disconnect();
    this.#become({ kind: "connecting" });
  }

  /** @param {Event} event */
  handleEvent(event) {
    if (event.type === "error") return this.#fail();
    const frame = JSON.parse(/** @type {MessageEvent<string>} */ (event).data);
    switch (event.type) {
      case "hello":
        this.#greet(frame);
        break;
      case "heartbeat":
        break;
      case "bye":
        return this.#reopenIn(this.#backoff.afterBye());
      case "busy":
        return this.#reopenIn(between(BUSY_MS), "busy");
      default:
        this.#listener.heard(event.type === "message" ? "update" : event.type, frame);
    }
    if (this.#source) this.#after(this.#silenceMs, () => this.#fail());
  }

  /** @param {import("./wire.js").Hello} hello */
  #greet(hello) {
    this.#greeted = true;
    this.#hellosMissed = 0;
    this.#silenceMs = 2 * (hello.heartbeat_s || HEARTBEAT_S) * 1000 + SILENCE_MARGIN_MS;
    this.#backoff.opened();
    this.#become({ kind: "live" });
    this.#listener.greeted(hello);
  }

  /** The stream broke, fell silent, or was refused, which may have a good reason that only a fetch can see. */
  async #fail() {
    const wasGreeted = this.#greeted;
    this.#disconnect();
    if (!wasGreeted) {
      const attempt = this.#attempt.signal;
      await this.#ask(`${RUNS_URL}?limit=1`);
      if (attempt.aborted) return;
    }
    this.#reopenIn(this.#backoff.failed(), "lost");
  }

  #missHello() {
    this.#hellosMissed += 1;
    if (this.#hellosMissed < HELLOS_MISSED) return this.#fail();
    this.#disconnect();
    this.#poll(POLLS_BEFORE_STREAM);
  }

  /** @param {number} left polls before a stream is tried again */
  async #poll(left) {
    if (left === 0) return this.open();
    this.#become({ kind: "polling" });
    const attempt = this.#attempt.signal;
    const followed = new Set(this.#listener.join().keys());
    const listed = await this.#ask(`${RUNS_URL}?limit=${MOST_RUNS}`);
    for (const run of listed?.runs ?? []) {
      followed.delete(run.id);
      this.#listener.polled(updateOf(run));
    }
    await Promise.all([...followed].map((run) => this.#pollOne(run)));
    if (!attempt.aborted) this.#after(POLL_EVERY_MS, () => this.#poll(left - 1));
  }

  /** @param {string} id */
  async #pollOne(id) {
    const run = await this.#ask(`${RUNS_URL}/${id}`, () => this.#listener.gone(id));
    if (run) this.#listener.polled(updateOf(run));
  }

  /**
   * What the server answers; null where no answer came. Ends the connection where the answer is that nobody is
   * logged in.
   *
   * @param {string} url
   * @param {() => void} [missing] called where there is no such thing
   * @returns {Promise<any>}
   */
  async #ask(url, missing) {
    const attempt = this.#attempt.signal;
    const signal = AbortSignal.any([attempt, AbortSignal.timeout(ASK_WITHIN_MS)]);
    try {
      const answer = await fetch(url, { headers: { Accept: "application/json" }, signal });
      const found = answer.ok ? await answer.json() : null;
      if (attempt.aborted) return null;
      if (answer.status === 401) this.#refuse();
      if (answer.status === 404) missing?.();
      return found;
    } catch {
      return null;
    }
  }

  /** Nobody is logged in; it stays closed until it is opened again. */
  #refuse() {
    this.#disconnect();
    this.#become({ kind: "unauthorized" });
  }

  /**
   * @param {number} waitMs
   * @param {"lost" | "busy"} [kind] what to say about it; nothing where all is well
   */
  #reopenIn(waitMs, kind) {
    this.#disconnect();
    if (kind) this.#become({ kind, retryAt: performance.now() + waitMs });
    this.#after(waitMs, () => this.open());
  }

  /** @param {State} state */
  #become(state) {
    const changed = state.kind !== this.#state.kind || state.retryAt !== this.#state.retryAt;
    this.#state = state;
    if (changed) this.#listener.changed(state);
  }

  #disconnect() {
    clearTimeout(this.#timer);
    this.#attempt.abort();
    this.#attempt = new AbortController();
    this.#source?.close();
    this.#source = null;
  }

  /**
   * Do this later, instead of whatever was to be done later.
   *
   * @param {number} waitMs
   * @param {() => void} act
   */
  #after(waitMs, act) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(act, waitMs);
  }
}

/** @param {Map<string, number>} followed */
function streamUrl(followed) {
  const follow = Array.from(followed, ([run, seq]) => `${run}@${seq}`).join(",");
  return follow ? `${EVENTS_URL}?follow=${follow}` : EVENTS_URL;
}
