import { paced } from "./paced.js";
import { shownOf } from "./words.js";

/** Items kept on the page: more make it slow to draw (web/story.py shows as many). */
const SHOWN_ITEMS = 500;
/** A table of 500 rows is laid out anew at most so often; faster is not seen. */
const PAINT_EVERY_MS = 100;
/** The last item counts as seen when it is this near to the edge, in pixels. */
const NEAR_PX = 24;

/**
 * The newest items of a list that grows: written in batches, capped, and followed as long as its end is in view. A
 * <data-table> around it may sort them: the oldest goes, wherever it stands, and the end is not followed then.
 *
 * @template T
 */
export class Tail {
  #list;
  #scroller;
  #note;
  #noun;
  #make;
  #total;
  /** What is on the page, oldest first. @type {Element[]} */
  #shown;
  /** @type {T[]} */
  #waiting = [];
  #paint = paced(() => this.#write(), PAINT_EVERY_MS);

  /**
   * @param {object} options
   * @param {HTMLElement} options.list what the items stand in
   * @param {HTMLElement} options.scroller what scrolls
   * @param {HTMLElement} options.note where it says how many there are
   * @param {string} options.noun
   * @param {number | null} options.total how many there are, null where nobody counted
   * @param {(item: T) => Element} options.make
   */
  constructor({ list, scroller, note, noun, total, make }) {
    this.#list = list;
    this.#scroller = scroller;
    this.#note = note;
    this.#noun = noun;
    this.#total = total;
    this.#make = make;
    this.#shown = [...list.children];
  }

  /** @param {T} item */
  add(item) {
    this.#waiting.push(item);
    if (this.#waiting.length > 2 * SHOWN_ITEMS) this.#waiting.splice(0, SHOWN_ITEMS);
    if (this.#total !== null) this.#total += 1;
    this.#paint();
  }

  clear() {
    this.#waiting = [];
    this.#total = 0;
    this.#shown = [];
    this.#list.replaceChildren();
  }

  /** Go to the newest item. */
  toEnd() {
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
  }

  #write() {
    const { scrollTop, clientHeight, scrollHeight } = this.#scroller;
    const follows = scrollTop + clientHeight >= scrollHeight - NEAR_PX && !this.#list.closest("[data-sorted]");
    const made = this.#waiting.slice(-SHOWN_ITEMS).map(this.#make);
    this.#waiting = [];
    this.#list.append(...made);
    this.#shown.push(...made);
    for (const oldest of this.#shown.splice(0, this.#shown.length - SHOWN_ITEMS)) oldest.remove();
    this.#note.textContent = shownOf(this.#shown.length, this.#total, this.#noun);
    if (follows) this.toEnd();
  }
}

/**
 * How many items a list had when the server drew it: its `total`, null where nobody counted.
 *
 * @param {HTMLElement} element
 */
export function countedTotal(element) {
  const total = element.getAttribute("total");
  return total === null ? null : Number(total);
}
