import { follow } from "./follow.js";
import { inside } from "./parts.js";
import { STEP_SEPARATOR } from "./words.js";

/**
 * The steps that a run announced: done, current, ahead.
 *
 *     <run-plan><ol><li data-state="done">Fetch</li><li data-state="current" aria-current="step">Sort</li></ol></run-plan>
 */
export class RunPlan extends HTMLElement {
  #stop = () => {};

  connectedCallback() {
    this.#stop = follow(this, {
      plan: ({ steps }) => this.#draw(steps),
      update: (update) => this.#mark(update),
      reset: () => this.#draw([]),
    });
  }

  disconnectedCallback() {
    this.#stop();
  }

  /** @param {string[]} steps */
  #draw(steps) {
    inside(this, "ol").replaceChildren(...steps.map(itemFor));
    this.hidden = steps.length === 0;
  }

  /** @param {import("./wire.js").Update} update */
  #mark({ status, step }) {
    const items = [...this.querySelectorAll("li")];
    const here = (step ?? "").split(STEP_SEPARATOR)[0];
    const at = status === "completed" ? items.length : items.findIndex((item) => item.textContent === here);
    items.forEach((item, index) => setState(item, index < at ? "done" : index === at ? "current" : "ahead"));
  }
}

/** @param {string} step */
function itemFor(step) {
  const item = document.createElement("li");
  item.textContent = step;
  item.dataset.state = "ahead";
  return item;
}

/**
 * @param {HTMLElement} item
 * @param {"done" | "current" | "ahead"} state
 */
function setState(item, state) {
  if (item.dataset.state === state) return;
  item.dataset.state = state;
  if (state === "current") item.setAttribute("aria-current", "step");
  else item.removeAttribute("aria-current");
}
