import { Follower } from "./follower.js";
import { redraw, serverParts } from "./server_part.js";
import { hasEnded } from "./wire.js";

/**
 * Stands around everything that shows one run, follows it to its end, and dispatches what it says as bubbling events
 * run:update, run:plan, run:log, run:output, run:row, run:reset and run:connection. `after` is the number of the last
 * event that the page shows already. When the run's status changes, the parts that the server draws are drawn anew.
 *
 *     <run-stream run="01..." after="57" status="processing"><run-progress>...</run-progress></run-stream>
 */
export class RunStream extends HTMLElement {
  #run = "";
  #cursor = 0;
  #follower = new Follower({
    wish: () => ({ follow: { [this.#run]: this.#cursor }, shows: [], newest: false }),
    hear: (told) => this.#hear(told),
  });
  #redrawing = new AbortController();

  connectedCallback() {
    if (this.hasAttribute("ended")) return;
    this.#run = this.getAttribute("run") ?? "";
    this.#cursor = Number(this.getAttribute("after"));
    this.addEventListener("run:update", this);
    this.#follower.start();
  }

  disconnectedCallback() {
    this.#follower.stop();
    this.#redrawing.abort();
  }

  /** @param {Event} event */
  handleEvent(event) {
    const { status } = /** @type {CustomEvent<import("./wire.js").Update>} */ (event).detail;
    if (status === this.getAttribute("status")) return;
    this.setAttribute("status", status);
    this.#redrawing.abort();
    this.#redrawing = new AbortController();
    redraw(serverParts(this), this.#redrawing.signal);
  }

  /** @param {import("./follower.js").Told} told */
  #hear(told) {
    switch (told.type) {
      case "event":
        return this.#take(told.name, told.event);
      case "update":
        return this.#look(told.update);
      case "reset":
        this.#cursor = 0;
        return this.#tell("reset", null);
      case "gone":
        return this.#end({ kind: "gone" });
      case "connection":
        return this.#tell("connection", told.connection);
    }
  }

  /**
   * The next event; what was told before (by another connection, from a lower number) is not told again.
   *
   * @param {string} name
   * @param {any} event
   */
  #take(name, event) {
    if (event.seq <= this.#cursor) return;
    this.#cursor = event.seq;
    this.#tell(/** @type {"update"} */ (name), event);
    if (name === "update" && hasEnded(event.status)) this.#end({ kind: "ended" });
  }

  /**
   * Where the run is, without what it said before: all that there is where events do not come through.
   *
   * @param {import("./messages.js").LatestUpdate} update
   */
  #look(update) {
    this.#tell("update", update);
    if (hasEnded(update.status)) this.#end({ kind: update.seq > this.#cursor ? "incomplete" : "ended" });
  }

  /** @param {import("./wire.js").Connection} connection */
  #end(connection) {
    this.#follower.stop();
    this.#tell("connection", connection);
  }

  /**
   * @template {keyof import("./wire.js").RunEvents} K
   * @param {K} name
   * @param {import("./wire.js").RunEvents[K]} detail
   */
  #tell(name, detail) {
    this.dispatchEvent(new CustomEvent(`run:${name}`, { detail, bubbles: true }));
  }
}
