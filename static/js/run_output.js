import { follow } from "./follow.js";
import { paced } from "./paced.js";
import { inside, part, say } from "./parts.js";

/** Characters kept on the page (web/story.py shows as many). */
const SHOWN_CHARS = 200_000;
const NEAR_PX = 24;

/**
 * The text that a run streams, followed as long as its end is in view.
 *
 *     <run-output><span data-part="note"></span><div class="tail"><pre data-part="text"></pre></div></run-output>
 */
export class RunOutput extends HTMLElement {
  #stop = () => {};
  #waiting = "";
  #paint = paced(() => this.#write());

  connectedCallback() {
    this.#stop = follow(this, {
      output: ({ text }) => {
        this.hidden = false;
        this.#waiting = (this.#waiting + text).slice(-SHOWN_CHARS);
        this.#paint();
      },
      reset: () => {
        this.#waiting = "";
        part(this, "text").textContent = "";
      },
    });
  }

  disconnectedCallback() {
    this.#stop();
  }

  #write() {
    const scroller = inside(this, ".tail");
    const follows = scroller.scrollTop + scroller.clientHeight >= scroller.scrollHeight - NEAR_PX;
    const shown = part(this, "text");
    shown.append(this.#waiting); // a text node: never parsed
    this.#waiting = "";
    const length = shown.textContent?.length ?? 0;
    if (length > SHOWN_CHARS * 1.5) {
      shown.textContent = (shown.textContent ?? "").slice(-SHOWN_CHARS);
      say(part(this, "note"), "The end of it");
    }
    if (follows) scroller.scrollTop = scroller.scrollHeight;
  }
}
