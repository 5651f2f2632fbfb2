/**
 * Lets a form be sent only once, however fast somebody clicks: a second click would launch a second run. The button
 * stays focusable, so it is not `disabled`. An event `unsent` from inside tells that the form may be sent again.
 *
 *     <submit-once><form method="post" action="/jobs/crawl"><button>Start run</button></form></submit-once>
 */
export class SubmitOnce extends HTMLElement {
  #listening = new AbortController();
  #sent = false;

  connectedCallback() {
    const { signal } = (this.#listening = new AbortController());
    this.addEventListener("submit", (event) => this.#send(event), { signal, capture: true }); // before all others
    this.addEventListener("unsent", () => this.#mark(false), { signal });
    addEventListener("pageshow", () => this.#mark(false), { signal }); // back from the next page: free again
  }

  disconnectedCallback() {
    this.#listening.abort();
  }

  /** @param {Event} event */
  #send(event) {
    if (this.#sent) {
      event.preventDefault();
      event.stopPropagation();
    }
    this.#mark(true);
  }

  /** @param {boolean} sent */
  #mark(sent) {
    this.#sent = sent;
    const button = this.querySelector("form button:not([type=button])");
    if (sent) button?.setAttribute("aria-disabled", "true");
    else button?.removeAttribute("aria-disabled");
  }
}
