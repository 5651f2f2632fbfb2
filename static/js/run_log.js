import { follow } from "./follow.js";
import { inside, part } from "./parts.js";
import { countedTotal, Tail } from "./tail.js";

/**
 * The run's log: its newest lines, each made from the template inside. `total` is how many lines there are.
 *
 *     <run-log total="2">
 *       <span data-part="note"></span>
 *       <div class="tail"><ol data-part="lines"></ol></div>
 *       <template><li><time></time><span></span><p></p></li></template>
 *     </run-log>
 */
export class RunLog extends HTMLElement {
  #stop = () => {};

  connectedCallback() {
    const tail = new Tail({
      list: part(this, "lines"),
      scroller: inside(this, ".tail"),
      note: part(this, "note"),
      noun: "line",
      total: countedTotal(this),
      make: (/** @type {import("./wire.js").LogLine} */ line) => this.#lineFor(line),
    });
    this.#stop = follow(this, {
      log: (line) => {
        this.hidden = false;
        tail.add(line);
      },
      reset: () => tail.clear(),
    });
    tail.toEnd();
  }

  disconnectedCallback() {
    this.#stop();
  }

  /** @param {import("./wire.js").LogLine} line */
  #lineFor({ level, message, time }) {
    const template = /** @type {HTMLTemplateElement} */ (inside(this, "template"));
    const copy = /** @type {DocumentFragment} */ (template.content.cloneNode(true));
    const [item, clock, name] = [inside(copy, "li"), inside(copy, "time"), inside(copy, "span")];
    item.dataset.level = level;
    clock.setAttribute("datetime", time);
    clock.textContent = time.slice(11, 19);
    name.textContent = level;
    inside(copy, "p").textContent = message;
    return item;
  }
}
