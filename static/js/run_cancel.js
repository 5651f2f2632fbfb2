/**
 * Cancels a run without leaving its page. Without a script, or when the call fails, the form is sent as any other.
 *
 *     <run-cancel><form method="post" action="/runs/01.../cancellation"><button>Cancel</button></form></run-cancel>
 */
export class RunCancel extends HTMLElement {
  connectedCallback() {
    this.addEventListener("submit", this);
  }

  disconnectedCallback() {
    this.removeEventListener("submit", this);
  }

  /** @param {Event} event */
  async handleEvent(event) {
    const form = /** @type {HTMLFormElement} */ (event.target);
    const button = form.querySelector("button");
    event.preventDefault();
    if (!button || button.ariaDisabled) return;
    button.ariaDisabled = "true"; // not disabled: it would lose the focus
    button.textContent = "Cancelling…";
    const answer = await fetch(form.action, { method: "POST" }).catch(() => null);
    if (!answer?.ok) form.submit();
  }
}
