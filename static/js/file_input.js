/** A longer text is sent as a file: the server takes a form's texts into its memory, and there no more than 500 kB. */
const LARGE_PASTE_CHARS = 100_000;
const PASTED_NAME = "pasted.txt";

/**
 * A file among a job's parameters (templates/parts/file_field.html). The page shows one of three ways to give it, also
 * without a script; this sends only that one, and a large paste as a file.
 *
 *     <file-input><fieldset id="p-texts"> radios, <input type="file">, <textarea>, <select> </fieldset></file-input>
 */
export class FileInput extends HTMLElement {
  #listening = new AbortController();

  connectedCallback() {
    const { signal } = (this.#listening = new AbortController());
    this.closest("form")?.addEventListener("formdata", (event) => this.#pick(event.formData), { signal });
  }

  disconnectedCallback() {
    this.#listening.abort();
  }

  /**
   * Take over what the server could not send back in the same field of the page before.
   *
   * @param {FileInput} before
   */
  takeFrom(before) {
    this.#upload.files = before.#upload.files;
    if (before.#paste.value.length > LARGE_PASTE_CHARS) this.#paste.value = before.#paste.value;
    this.querySelector('[data-part="again"]')?.remove();
  }

  /** @param {FormData} data */
  #pick(data) {
    const name = this.#upload.name;
    const way = this.querySelector("[type=radio]:checked")?.getAttribute("value");
    if (way !== "upload") data.delete(name);
    if (way !== "paste") data.delete(`${name}.paste`);
    if (way !== "choice") data.delete(`${name}.choice`);
    const text = this.#paste.value;
    if (way !== "paste" || text.length <= LARGE_PASTE_CHARS) return;
    data.delete(`${name}.paste`);
    data.set(name, new File([text], PASTED_NAME, { type: "text/plain" }));
  }

  get #upload() {
    return /** @type {HTMLInputElement} */ (this.querySelector("[type=file]"));
  }

  get #paste() {
    return /** @type {HTMLTextAreaElement} */ (this.querySelector("textarea"));
  }
}
