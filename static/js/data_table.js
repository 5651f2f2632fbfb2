import { inside, say } from "./parts.js";

/** A shorter table is seen as a whole. */
const FILTERED_ROWS = 5;
/** Somebody who types is told the count once, when they pause. */
const SAY_AFTER_MS = 400;

/** @typedef {{ column: number, descending: boolean }} Sorting */
/** @typedef {{ rank: number, number: number, text: string }} SortKey numbers come before texts, nothing comes last */

const RANK = { number: 0, text: 1, nothing: 2 };
const COLLATOR = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });

/**
 * Lets its table be sorted by its headings and filtered by a text, also while rows are added to it or taken away.
 *
 *     <data-table>
 *       <div class="table-tools">links to downloads</div>
 *       <div class="scroller"><table><thead><tr><th>url</th></tr></thead><tbody>...</tbody></table></div>
 *     </data-table>
 *
 * While it is sorted it says so (`data-sorted`), since its last row is not the newest then.
 */
export class DataTable extends HTMLElement {
  #listening = new AbortController();
  #observer = new MutationObserver(() => this.#refresh());
  #filter = document.createElement("input");
  #count = document.createElement("span");
  #said = document.createElement("span");
  /** @type {Sorting | null} */
  #sorting = null;
  /** The order in which the rows came. @type {WeakMap<HTMLTableRowElement, number>} */
  #arrivals = new WeakMap();
  #arrived = 0;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #saying;

  connectedCallback() {
    const { signal } = (this.#listening = new AbortController());
    this.#addFilter();
    this.#head.addEventListener("click", (event) => this.#press(/** @type {Element} */ (event.target)), { signal });
    this.#filter.addEventListener("input", () => this.#search(), { signal });
    this.#refresh();
  }

  disconnectedCallback() {
    this.#listening.abort();
    this.#observer.disconnect();
    clearTimeout(this.#saying);
  }

  get #table() {
    return /** @type {HTMLTableElement} */ (inside(this, "table")); // a table in one of its cells comes later
  }

  get #head() {
    return this.#table.tHead?.rows[0] ?? this.#table.createTHead().insertRow();
  }

  get #body() {
    return this.#table.tBodies[0] ?? this.#table.createTBody();
  }

  #addFilter() {
    this.#filter.type = "search";
    this.#filter.placeholder = "Filter rows";
    this.#filter.ariaLabel = "Filter rows";
    this.#count.className = "table-count";
    this.#count.ariaHidden = "true";
    this.#said.className = "visually-hidden";
    this.#said.setAttribute("role", "status");
    inside(this, ".table-tools").prepend(this.#filter, this.#count, this.#said);
  }

  /** Rows or columns have come or gone, or they are to be seen otherwise. */
  #refresh() {
    this.#observer.disconnect(); // what follows is our own doing
    for (const row of this.#body.rows) if (!this.#arrivals.has(row)) this.#arrivals.set(row, this.#arrived++);
    for (const heading of this.#head.cells) {
      if (!heading.querySelector("button")) makeButton(heading);
      heading.classList.toggle("is-number", this.#holdsNumbers(heading.cellIndex));
    }
    if (this.#sorting && this.#sorting.column >= this.#head.cells.length) this.#sorting = null;
    this.#markHeadings();
    this.#order();
    this.#sift();
    this.#observer.observe(this.#body, { childList: true });
    this.#observer.observe(this.#head, { childList: true });
  }

  /** Whether the first row that has something there has a number. @param {number} column */
  #holdsNumbers(column) {
    for (const { cells } of this.#body.rows) {
      if (cells[column]?.textContent) return cells[column].classList.contains("is-number");
    }
    return false;
  }

  // Sorting.

  /** @param {Element} target */
  #press(target) {
    const heading = target.closest("button.sort")?.closest("th");
    if (!heading) return;
    const column = heading.cellIndex;
    if (this.#sorting?.column !== column) this.#sorting = { column, descending: false };
    else this.#sorting = this.#sorting.descending ? null : { column, descending: true };
    this.#refresh();
    this.#sayNow(this.#sorting ? `Sorted by ${heading.textContent}, ${directionOf(this.#sorting)}` : "In their own order");
  }

  #markHeadings() {
    this.toggleAttribute("data-sorted", this.#sorting !== null);
    for (const heading of this.#head.cells) {
      if (heading.cellIndex === this.#sorting?.column) heading.setAttribute("aria-sort", directionOf(this.#sorting));
      else heading.removeAttribute("aria-sort");
    }
  }

  #order() {
    const sorting = this.#sorting;
    const keys = new Map(Array.from(this.#body.rows, (row) => [row, sorting ? keyOf(row.cells[sorting.column]) : null]));
    const ordered = [...this.#body.rows].sort((one, other) => {
      const [a, b] = [keys.get(one), keys.get(other)];
      return (sorting && a && b && compare(a, b, sorting.descending)) || this.#arrivalOf(one) - this.#arrivalOf(other);
    });
    ordered.forEach((row, at) => {
      const there = this.#body.rows[at];
      if (there !== row) this.#body.insertBefore(row, there ?? null); // those in their places keep the focus
    });
  }

  /** @param {HTMLTableRowElement} row */
  #arrivalOf(row) {
    return this.#arrivals.get(row) ?? 0;
  }

  // Filtering.

  #search() {
    this.#sift();
    clearTimeout(this.#saying);
    this.#saying = setTimeout(() => this.#sayNow(this.#count.textContent || "All rows"), SAY_AFTER_MS);
  }

  #sift() {
    const rows = [...this.#body.rows];
    const wanted = this.#filter.value.trim().toLowerCase();
    let shown = 0;
    for (const row of rows) {
      const fits = !wanted || Array.from(row.cells, (cell) => cell.textContent).join("\n").toLowerCase().includes(wanted);
      if (row.hidden === fits) row.hidden = !fits;
      if (fits) shown += 1;
    }
    this.#filter.hidden = !wanted && rows.length < FILTERED_ROWS;
    say(this.#count, wanted ? `${shown.toLocaleString("en-US")} of ${rows.length.toLocaleString("en-US")} rows` : "");
  }

  /** @param {string} words */
  #sayNow(words) {
    clearTimeout(this.#saying);
    say(this.#said, words);
  }
}

/**
 * What is pressed to sort is a button inside the heading; its arrow is the style sheet's.
 *
 * @param {HTMLTableCellElement} heading
 */
function makeButton(heading) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "sort";
  button.append(...heading.childNodes);
  heading.append(button);
}

/** @param {Sorting} sorting */
function directionOf({ descending }) {
  return descending ? "descending" : "ascending";
}

/**
 * @param {HTMLTableCellElement | undefined} cell
 * @returns {SortKey}
 */
function keyOf(cell) {
  const text = cell?.textContent?.trim() ?? "";
  const number = cell?.classList.contains("is-number") ? Number(text) : NaN;
  return { rank: text ? (Number.isNaN(number) ? RANK.text : RANK.number) : RANK.nothing, number, text };
}

/**
 * @param {SortKey} one
 * @param {SortKey} other
 * @param {boolean} descending
 */
function compare(one, other, descending) {
  if (one.rank === RANK.nothing || other.rank === RANK.nothing) return one.rank - other.rank;
  const order = one.rank - other.rank || (one.rank === RANK.number ? one.number - other.number : COLLATOR.compare(one.text, other.text));
  return descending ? -order : order;
}
