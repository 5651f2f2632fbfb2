import { Presence } from "./presence.js";
import { redraw } from "./server_part.js";
import { RunStream } from "./stream.js";

/**
 * Stands around everything that shows one run, and dispatches what the run says as bubbling events run:update,
 * run:plan, run:log, run:output, run:row, run:reset and run:connection. `after` is the number of the last event that
 * the page shows already. When the run's status changes, the parts that the server draws are drawn anew.
 *
 *     <run-stream src="/api/v1/runs/01.../events" run="/api/v1/runs/01..." after="57" status="processing">
 *       <run-progress>...</run-progress>
 *     </run-stream>
 */
export class RunStreamElement extends HTMLElement {
  /** @type {Presence | undefined} */
  #presence;
  #redrawing = new AbortController();

  connectedCallback() {
    if (this.hasAttribute("ended")) return;
    const stream = new RunStream({
      events: this.getAttribute("src") ?? "",
      run: this.getAttribute("run") ?? "",
      after: Number(this.getAttribute("after")),
      tell: (name, detail) => this.dispatchEvent(new CustomEvent(`run:${name}`, { detail, bubbles: true })),
    });
    this.addEventListener("run:update", this);
    this.#presence = new Presence({ here: () => stream.open(), away: () => stream.pause() });
    this.#presence.start();
  }

  disconnectedCallback() {
    this.#presence?.stop();
    this.#redrawing.abort();
  }

  /** @param {Event} event */
  handleEvent(event) {
    const { status } = /** @type {CustomEvent<import("./wire.js").Update>} */ (event).detail;
    if (status === this.getAttribute("status")) return;
    this.setAttribute("status", status);
    this.#redrawing.abort();
    this.#redrawing = new AbortController();
    redraw(this, this.#redrawing.signal);
  }
}
