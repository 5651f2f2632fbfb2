/**
 * Tells when somebody can see the page. A page that nobody sees follows nothing: it costs the server work, and where
 * each tab holds a connection of its own, a browser opens six to a host over HTTP/1.1, and a seventh tab would hang.
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
