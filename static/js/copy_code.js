/** How long the button says that it worked. */
const SAID_MS = 2000;

/**
 * Adds a button that copies the text inside. Only where the browser has a clipboard for us: not on plain HTTP beyond
 * this machine.
 *
 *     <copy-code><pre>curl ...</pre></copy-code>
 */
export class CopyCode extends HTMLElement {
  #button = document.createElement("button");

  connectedCallback() {
    if (!navigator.clipboard) return;
    this.#button.type = "button";
    this.#button.className = "button";
    this.#button.textContent = "Copy";
    this.#button.setAttribute("aria-live", "polite");
    this.#button.addEventListener("click", this);
    this.append(this.#button);
  }

  disconnectedCallback() {
    this.#button.remove();
  }

  async handleEvent() {
    const text = this.querySelector("pre")?.textContent ?? "";
    const copied = await navigator.clipboard.writeText(text).then(
      () => true,
      () => false,
    );
    this.#button.textContent = copied ? "Copied" : "Not allowed";
    setTimeout(() => (this.#button.textContent = "Copy"), SAID_MS);
  }
}
