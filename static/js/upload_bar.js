import { FileInput } from "./file_input.js";
import { inside, part, say } from "./parts.js";
import { filesize, percent } from "./words.js";

const LOST = "The connection was lost before everything was sent. Nothing was started: try again.";
const LOST_AFTERWARDS = "The connection was lost before the answer came. Look under Runs whether the run was started.";
const CANCELLED = "Cancelled. Nothing was started.";
const LOGGED_OUT = "You are logged out. Log in in another tab, then start the run again from here.";
const TOO_LARGE = "The server does not take as much.";

/**
 * Sends the form around it, where it has files, with a bar that shows how far they have got, and a button to cancel.
 * Afterwards it goes where the server leads, or shows the page that the server answers with. Without a script, and
 * where there are no files, the form is sent as any other.
 *
 *     <form><upload-bar max-bytes="100000000"><template>...</template><p data-part="problem"></p></upload-bar></form>
 */
export class UploadBar extends HTMLElement {
  #listening = new AbortController();
  /** @type {XMLHttpRequest | null} */
  #request = null;

  connectedCallback() {
    const { signal } = (this.#listening = new AbortController());
    this.closest("form")?.addEventListener("submit", (event) => this.#submit(event), { signal });
  }

  disconnectedCallback() {
    this.#listening.abort();
    this.#request?.abort();
  }

  /** @param {SubmitEvent} event */
  #submit(event) {
    const form = /** @type {HTMLFormElement} */ (event.target);
    const body = new FormData(form, event.submitter);
    const files = [...body.values()].filter((value) => value instanceof File);
    const bytes = files.reduce((sum, file) => sum + file.size, 0);
    say(part(this, "problem"), "");
    if (!bytes) return;
    event.preventDefault();
    const most = Number(this.getAttribute("max-bytes"));
    if (bytes > most) {
      const [largest] = files.sort((one, other) => other.size - one.size);
      this.#fail(`${largest?.name} is too large: it has ${filesize(bytes)}, and ${filesize(most)} is the most.`);
    } else {
      this.#send(form, body);
    }
  }

  /**
   * @param {HTMLFormElement} form
   * @param {FormData} body
   */
  #send(form, body) {
    const request = (this.#request = new XMLHttpRequest());
    let complete = false;
    this.#draw(request);
    request.upload.addEventListener("progress", ({ loaded, total }) => this.#show(loaded, total));
    request.upload.addEventListener("load", () => {
      complete = true;
      this.#wait();
    });
    request.addEventListener("load", () => this.#answered(request));
    request.addEventListener("error", () => this.#fail(complete ? LOST_AFTERWARDS : LOST));
    request.addEventListener("abort", () => this.#fail(CANCELLED, "cancelled"));
    request.open("POST", form.getAttribute("action") ?? ""); // not form.action: a parameter may be called so
    request.setRequestHeader("Accept", "text/html");
    request.send(body);
  }

  /** @param {XMLHttpRequest} request */
  #draw(request) {
    this.append(document.importNode(/** @type {HTMLTemplateElement} */ (inside(this, "template")).content, true));
    part(this, "cancel").addEventListener("click", () => request.abort());
    this.#show(0, 0);
  }

  /**
   * @param {number} sent bytes
   * @param {number} total bytes, 0 while nobody knows
   */
  #show(sent, total) {
    const share = total ? (100 * sent) / total : 0;
    const sizes = total ? `${filesize(sent)} of ${filesize(total)}` : "sending";
    const bar = part(this, "bar");
    bar.setAttribute("aria-valuenow", percent(share));
    bar.setAttribute("aria-valuetext", `${percent(share)} %, ${sizes}`);
    bar.querySelector("rect")?.setAttribute("width", `${share}%`);
    say(part(this, "sent"), `${percent(share)} % · ${sizes}`);
  }

  /** Everything is there; what the server makes of it cannot be called back any more. */
  #wait() {
    say(part(this, "sent"), "Everything is sent. Starting the run…");
    part(this, "cancel").hidden = true;
  }

  /** @param {XMLHttpRequest} request */
  #answered(request) {
    if (request.status < 400) return location.assign(request.responseURL);
    const page = new DOMParser().parseFromString(request.responseText, "text/html");
    if (request.status === 422) return redraw(page);
    const told = page.getElementById("detail")?.textContent;
    if (request.status === 401) this.#fail(LOGGED_OUT);
    else this.#fail(told || (request.status === 413 ? TOO_LARGE : `The server answered with ${request.status}.`));
  }

  /**
   * Say why nothing was started, and let the form be sent again.
   *
   * @param {string} why
   * @param {string} kind
   */
  #fail(why, kind = "failed") {
    this.#request = null;
    if (!this.isConnected) return;
    const hadFocus = this.contains(document.activeElement);
    this.querySelector(".upload")?.remove();
    part(this, "problem").dataset.kind = kind;
    say(part(this, "problem"), why);
    this.dispatchEvent(new Event("unsent", { bubbles: true }));
    if (hadFocus) inside(/** @type {HTMLElement} */ (this.closest("form")), ".is-primary").focus();
  }
}

/**
 * Show the form that the server sent back, with the files and the large texts that only this page has.
 *
 * @param {Document} page
 */
function redraw(page) {
  const before = new Map(Array.from(document.querySelectorAll("file-input"), (one) => [one.firstElementChild?.id, one]));
  document.title = page.title;
  inside(document, "main").replaceChildren(...document.importNode(inside(page, "main"), true).childNodes);
  for (const again of document.querySelectorAll("file-input")) {
    const old = before.get(again.firstElementChild?.id);
    if (again instanceof FileInput && old instanceof FileInput) again.takeFrom(old);
  }
  document.getElementById("problems")?.focus();
}
