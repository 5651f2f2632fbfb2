/**
 * Hear what the <run-stream> or <run-list> around an element says; gives the function that ends it.
 *
 *     connectedCallback() { this.#stop = follow(this, { update: (update) => this.#show(update) }); }
 *     disconnectedCallback() { this.#stop?.(); }
 *
 * @param {HTMLElement} element
 * @param {{ [K in keyof import("./wire.js").RunEvents]?: (detail: import("./wire.js").RunEvents[K]) => void }} handlers
 * @returns {() => void}
 */
export function follow(element, handlers) {
  const stream = element.closest("run-stream, run-list");
  const listening = new AbortController();
  for (const [name, handle] of Object.entries(handlers)) {
    const tell = /** @type {(detail: unknown) => void} */ (handle);
    const hear = (/** @type {Event} */ event) => tell(/** @type {CustomEvent} */ (event).detail);
    stream?.addEventListener(`run:${name}`, hear, { signal: listening.signal });
  }
  return () => listening.abort();
}
