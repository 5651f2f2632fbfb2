/**
 * Tells when somebody can see the page. A page that nobody sees gives its connection back: over HTTP/1.1 a browser
 * opens six to a host, and a seventh tab would hang. A page in the back-forward cache must hold none at all.
 */
export class Presence {
  #here;
  #away;
  #listening = new AbortController();

  /** @param {{ here: () => void, away: () => void }} callbacks `here` may be called when it is known already */
  constructor({ here, away }) {
    this.#here = here;
    this.#away = away;
  }

  start() {
    const { signal } = (this.#listening = new AbortController());
    document.addEventListener("visibilitychange", () => this.#look(), { signal });
    addEventListener("pagehide", () => this.#away(), { signal });
    addEventListener("pageshow", () => this.#look(), { signal });
    addEventListener("online", () => this.#look(), { signal });
    this.#look();
  }

  stop() {
    this.#listening.abort();
    this.#away();
  }

  #look() {
    if (document.hidden) this.#away();
    else this.#here();
  }
}
