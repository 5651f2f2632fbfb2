import { Backoff, between } from "./backoff.js";
import { hasEnded, updateOf } from "./wire.js";

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
const BUSY_MS = { least: 10_000, most: 20_000 };
const ASK_WITHIN_MS = 10_000;

const EVENTS = ["message", "error", "hello", "heartbeat", "plan", "log", "output", "row", "busy", "bye"];

/**
 * Follows one run to its end: an EventSource, and everything that can go wrong with one.
 *
 * It owns the retries, since neither Chromium nor Firefox backs off by itself and both give up for good after one
 * 502; so every error closes the source, and a new one is opened with the number of the last event seen.
 *
 *     const stream = new RunStream({ events: run.events_url, run: run.url, after: run.cursor, tell });
 *     stream.open();   // tell("update", {...}), tell("row", {...}), tell("connection", {...}), ...
 *     stream.pause();  // nothing more is told until it is opened again
 */
export class RunStream {
  #events;
  #run;
  #cursor;
  #tell;
  #backoff = new Backoff();
  /** @type {EventSource | null} */
  #source = null;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  /** Aborted by close(), so that an answer which comes later counts no more. */
  #attempt = new AbortController();
  #silenceMs = 0;
  #greeted = false;
  #hellosMissed = 0;
  #over = false;

  /**
   * @param {object} options
   * @param {string} options.events URL of the run's stream
   * @param {string} options.run URL of the run itself
   * @param {number} options.after number of the last event that the page has
   * @param {<K extends keyof import("./wire.js").RunEvents>(name: K, detail: import("./wire.js").RunEvents[K]) => void} options.tell
   */
  constructor({ events, run, after, tell }) {
    this.#events = events;
    this.#run = run;
    this.#cursor = after;
    this.#tell = tell;
  }

  /** Connect now, unless connected already or at the end. */
  open() {
    if (this.#over || this.#source) return;
    this.#close();
    this.#greeted = false;
    this.#source = new EventSource(`${this.#events}?after=${this.#cursor}`);
    for (const name of EVENTS) this.#source.addEventListener(name, this);
    this.#after(HELLO_WITHIN_MS, () => this.#missHello());
  }

  /** Disconnect until the next open(). */
  pause() {
    this.#close();
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
        this.#deliver(event.type === "message" ? "update" : event.type, frame);
    }
    if (this.#source) this.#after(this.#silenceMs, () => this.#fail());
  }

  /** @param {import("./wire.js").Hello} hello */
  #greet({ reset, heartbeat_s }) {
    this.#greeted = true;
    this.#hellosMissed = 0;
    this.#silenceMs = 2 * (heartbeat_s || HEARTBEAT_S) * 1000 + SILENCE_MARGIN_MS;
    this.#backoff.opened();
    if (reset) {
      this.#cursor = 0;
      this.#tell("reset", null);
    }
    this.#tell("connection", { kind: "live" });
  }

  /**
   * @param {string} name
   * @param {any} frame
   */
  #deliver(name, frame) {
    if (frame.seq <= this.#cursor) return;
    this.#cursor = frame.seq;
    this.#tell(/** @type {"update"} */ (name), frame);
    if (name === "update" && hasEnded(frame.status)) this.#end({ kind: "ended" });
  }

  /** The stream broke, fell silent, or was refused; a refused one may have a good reason, which only a fetch can see. */
  async #fail() {
    const wasGreeted = this.#greeted;
    this.#close();
    if (!wasGreeted) {
      const attempt = this.#attempt.signal;
      const run = await this.#ask();
      if (attempt.aborted || this.#over) return;
      if (run && hasEnded(run.status) && run.cursor <= this.#cursor) return this.#endWith(run);
    }
    this.#reopenIn(this.#backoff.failed(), "lost");
  }

  #missHello() {
    this.#hellosMissed += 1;
    if (this.#hellosMissed < HELLOS_MISSED) return this.#fail();
    this.#close();
    this.#poll(POLLS_BEFORE_STREAM);
  }

  /** @param {number} left polls before a stream is tried again */
  async #poll(left) {
    if (left === 0) return this.open();
    this.#tell("connection", { kind: "polling" });
    const attempt = this.#attempt.signal;
    const run = await this.#ask();
    if (attempt.aborted || this.#over) return;
    if (run && hasEnded(run.status)) return this.#endWith(run);
    if (run) this.#tell("update", updateOf(run));
    this.#after(POLL_EVERY_MS, () => this.#poll(left - 1));
  }

  /**
   * The run itself; null where no answer came. Ends the stream where the answer is final.
   *
   * @returns {Promise<import("./wire.js").Run | null>}
   */
  async #ask() {
    const signal = AbortSignal.any([this.#attempt.signal, AbortSignal.timeout(ASK_WITHIN_MS)]);
    try {
      const answer = await fetch(this.#run, { headers: { Accept: "application/json" }, signal });
      if (answer.status === 401) this.#end({ kind: "unauthorized" });
      if (answer.status === 404) this.#end({ kind: "gone" });
      return answer.ok ? await answer.json() : null;
    } catch {
      return null;
    }
  }

  /** @param {import("./wire.js").Run} run */
  #endWith(run) {
    this.#tell("update", updateOf(run));
    this.#end({ kind: run.cursor > this.#cursor ? "incomplete" : "ended" });
  }

  /** @param {import("./wire.js").Connection} connection */
  #end(connection) {
    this.#over = true;
    this.#close();
    this.#tell("connection", connection);
  }

  /**
   * @param {number} waitMs
   * @param {"lost" | "busy"} [kind] what to say about it; nothing where all is well
   */
  #reopenIn(waitMs, kind) {
    this.#close();
    if (kind) this.#tell("connection", { kind, retryAt: performance.now() + waitMs });
    this.#after(waitMs, () => this.open());
  }

  #close() {
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
