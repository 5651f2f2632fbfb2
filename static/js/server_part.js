/** Between two tries to load the page anew, in ms. */
const RETRY_MS = 2000;
/** A new button does nothing at first: the second click of a double click on "Cancel" must not hit "Run again". */
const SETTLE_MS = 400;

/**
 * A part of a page that the server draws anew when something has changed: a run's actions, its result and files, its
 * facts. So that what they look like is said once, in the template.
 *
 *     <server-part id="run-result">...</server-part>
 */
export class ServerPart extends HTMLElement {
  connectedCallback() {
    this.addEventListener("click", this, { capture: true });
  }

  disconnectedCallback() {
    this.removeEventListener("click", this, { capture: true });
  }

  /** @param {Event} event */
  handleEvent(event) {
    const target = /** @type {Element} */ (event.target);
    if (!target.closest("[aria-disabled]")) return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** @param {Document} page the same page, as the server draws it now */
  drawFrom(page) {
    const newer = page.getElementById(this.id);
    if (!newer || newer.isEqualNode(this)) return; // the button that somebody is about to press stays the same one
    const hadFocus = this.contains(document.activeElement);
    this.replaceChildren(...document.importNode(newer, true).childNodes);
    if (hadFocus) this.#takeFocus();
    for (const button of this.querySelectorAll(".button")) settle(button);
  }

  /** The focused button is gone: its successor takes the focus, so that the keyboard stays where it was. */
  #takeFocus() {
    const next = this.querySelector("a, button");
    if (next instanceof HTMLElement) next.focus();
  }
}

/** @param {Element} button */
function settle(button) {
  button.ariaDisabled = "true";
  setTimeout(() => (button.ariaDisabled = null), SETTLE_MS);
}

/** @param {ParentNode} root */
export function serverParts(root) {
  return [...root.querySelectorAll("server-part")].filter((part) => part instanceof ServerPart);
}

/**
 * Draw parts of this page anew, however long it takes to get the page.
 *
 * @param {{ drawFrom: (page: Document) => void }[]} parts
 * @param {AbortSignal} signal
 */
export async function redraw(parts, signal) {
  const page = await load(location.href, signal);
  if (!page) return;
  document.title = page.title;
  for (const part of parts) part.drawFrom(page);
}

/**
 * @param {string} url
 * @param {AbortSignal} signal
 * @returns {Promise<Document | null>} null when aborted, or when the page cannot be had any more
 */
async function load(url, signal) {
  while (!signal.aborted) {
    try {
      const answer = await fetch(url, { headers: { Accept: "text/html" }, signal });
      if (answer.redirected) return null; // to the login
      if (answer.ok) return new DOMParser().parseFromString(await answer.text(), "text/html");
      if (answer.status < 500) return null;
    } catch {
      // No connection, or aborted: the loop's condition tells them apart.
    }
    await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
  }
  return null;
}
