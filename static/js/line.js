import { WORKER_NAME } from "./messages.js";

/** The worker answers each message. One that does not for so long could not start, or is no more. */
const ANSWER_WITHIN_MS = 10_000;

/** @typedef {Exclude<import("./messages.js").FromPage, { type: "bye" }>} Call */

/**
 * A page's line to the connection: to the worker that holds it for all tabs, or, where there is none, to one of the
 * page's own. A worker that once answered and then fell silent (it shares a tab's process, and may crash with it) is
 * asked for anew first.
 *
 *     const line = new Line((message) => ...);
 *     line.say({ type: "here", wish });
 */
export class Line {
  #hear;
  /** @type {MessagePort | null} */
  #port = null;
  #own = false;
  #answered = false;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #waiting;
  /** @type {Call | undefined} */
  #said;

  /** @param {(message: import("./messages.js").ToPage) => void} hear */
  constructor(hear) {
    this.#hear = hear;
  }

  /** @param {Call} message */
  say(message) {
    const port = (this.#port ??= this.#open());
    this.#said = message;
    port.postMessage(message);
    this.#waiting ??= setTimeout(() => this.#fail(port), ANSWER_WITHIN_MS);
  }

  /** Say goodbye; nothing more is heard until something is said again. */
  close() {
    this.#stopWaiting();
    this.#port?.postMessage({ type: "bye" });
    this.#port?.close();
    this.#port = null;
  }

  /** @returns {MessagePort} */
  #open() {
    const port = (this.#own ? null : sharedPort(() => this.#fail(port))) ?? ownPort();
    port.onmessage = ({ data }) => this.#take(data);
    return port;
  }

  /** @param {import("./messages.js").ToPage} message */
  #take(message) {
    this.#stopWaiting();
    this.#answered = true;
    if (message.type === "full") this.#reopen({ own: true });
    else if (message.type !== "heard") this.#hear(message);
  }

  #stopWaiting() {
    clearTimeout(this.#waiting);
    this.#waiting = undefined;
  }

  /** @param {MessagePort} port */
  #fail(port) {
    if (port === this.#port) this.#reopen({ own: !this.#answered });
  }

  /** @param {{ own: boolean }} where */
  #reopen({ own }) {
    this.close();
    this.#own = own;
    this.#answered = false;
    if (this.#said) this.say(this.#said);
  }
}

/**
 * @param {() => void} onFailure
 * @returns {MessagePort | null} null where the browser has no shared workers, or allows none here
 */
function sharedPort(onFailure) {
  if (!("SharedWorker" in globalThis)) return null;
  try {
    const script = new URL("connection_worker.js", import.meta.url);
    const worker = new SharedWorker(script, { type: "module", name: WORKER_NAME });
    worker.addEventListener("error", onFailure);
    return worker.port;
  } catch {
    return null;
  }
}

function ownPort() {
  const { port1, port2 } = new MessageChannel();
  import("./pages.js").then(({ Pages }) => new Pages().add(port2)); // seldom needed, so seldom loaded
  return port1;
}
