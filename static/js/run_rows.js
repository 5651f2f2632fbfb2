import { cellOf } from "./cell.js";
import { follow } from "./follow.js";
import { inside, part } from "./parts.js";
import { countedTotal, Tail } from "./tail.js";

/** A table with more columns cannot be read, and costs the browser dearly (web/story.py shows as many). */
const SHOWN_COLUMNS = 60;

/**
 * The run's rows as a table that grows; its columns are the keys, in the order in which they were first seen.
 *
 *     <run-rows total="2000">
 *       <span data-part="note"></span>
 *       <data-table>...<div class="scroller"><table><thead><tr><th>url</th></tr></thead><tbody></tbody></table></div></data-table>
 *     </run-rows>
 */
export class RunRows extends HTMLElement {
  #stop = () => {};
  /** @type {Set<string>} */
  #columns = new Set();

  connectedCallback() {
    for (const heading of this.querySelectorAll("thead th")) this.#columns.add(heading.textContent ?? "");
    const tail = new Tail({
      list: inside(this, "tbody"),
      scroller: inside(this, ".scroller"),
      note: part(this, "note"),
      noun: "row",
      total: countedTotal(this),
      make: (/** @type {Record<string, unknown>} */ row) => this.#lineFor(row),
    });
    this.#stop = follow(this, {
      row: ({ row }) => {
        this.hidden = false;
        tail.add(row);
      },
      reset: () => {
        tail.clear();
        this.#columns.clear();
        inside(this, "thead tr").replaceChildren();
      },
    });
    if (!this.closest("run-stream[ended]")) tail.toEnd();
  }

  disconnectedCallback() {
    this.#stop();
  }

  /** @param {Record<string, unknown>} row */
  #lineFor(row) {
    for (const name of Object.keys(row)) if (!this.#columns.has(name)) this.#addColumn(name);
    const line = document.createElement("tr");
    line.append(...Array.from(this.#columns, (name) => cellOf(Object.hasOwn(row, name) ? row[name] : null)));
    return line;
  }

  /** @param {string} name */
  #addColumn(name) {
    if (this.#columns.size >= SHOWN_COLUMNS) return;
    this.#columns.add(name);
    const heading = document.createElement("th");
    heading.scope = "col";
    heading.textContent = name;
    inside(this, "thead tr").append(heading);
  }
}
