import { inside } from "./parts.js";

/** A mark is pointed at from this near, in pixels. */
const NEAR_PX = 36;
const GAP_PX = 12;

/** @typedef {{ element: SVGElement, series: number, text: string }} Mark */
/** @typedef {{ mark: Mark, x: number, y: number }} Placed a mark that is seen, and its middle inside the frame */

/**
 * A drawn chart that answers: its marks say their values when pointed at, and to the arrow keys; the entries of its
 * legend hide their series. Without a script it is the drawing, whose marks have titles.
 *
 *     <chart-view kind="line" label="Latency">
 *       <ul class="legend"><li><svg></svg><span>p50</span></li></ul>
 *       <div class="chart-frame"><svg>...<g data-series="0">...<g data-marks><circle><title>...</title></circle>...</svg></div>
 *     </chart-view>
 */
export class ChartView extends HTMLElement {
  #listening = new AbortController();
  #resizing = new ResizeObserver(() => this.#forget());
  #tip = document.createElement("div");
  #said = document.createElement("p");
  /** @type {Mark[]} */
  #marks = [];
  /** @type {Placed[] | null} */
  #placed = null;
  /** @type {Mark | null} */
  #here = null;

  connectedCallback() {
    const { signal } = (this.#listening = new AbortController());
    if (!this.#marks.length) this.#begin();
    const frame = this.#frame;
    frame.addEventListener("pointermove", (event) => this.#point(event), { signal });
    frame.addEventListener("pointerdown", (event) => this.#point(event), { signal });
    frame.addEventListener("pointerleave", () => this.#show(null), { signal });
    frame.addEventListener("keydown", (event) => this.#press(event), { signal });
    frame.addEventListener("focus", () => this.#focus(), { signal });
    frame.addEventListener("blur", () => this.#show(null), { signal });
    this.addEventListener("click", (event) => this.#toggle(/** @type {Element} */ (event.target)), { signal });
    this.#resizing.observe(frame);
  }

  disconnectedCallback() {
    this.#listening.abort();
    this.#resizing.disconnect();
  }

  get #frame() {
    return inside(this, ".chart-frame");
  }

  #begin() {
    this.#marks = Array.from(this.querySelectorAll("[data-marks] > *"), takeMark);
    this.#marks.sort((one, other) => one.series - other.series); // what is grey is drawn first, but said last
    const frame = this.#frame;
    frame.tabIndex = 0;
    frame.role = "application"; // so that a screen reader leaves the arrow keys to us
    frame.ariaRoleDescription = "chart";
    frame.ariaLabel = `${this.getAttribute("label")}. The arrow keys walk its points.`;
    this.#tip.className = "chart-tip";
    this.#tip.ariaHidden = "true";
    this.#tip.hidden = true;
    this.#said.className = "visually-hidden";
    this.#said.setAttribute("role", "status"); // says what the keyboard comes to; a pointer would make it chatter
    frame.append(this.#tip, this.#said);
    this.querySelectorAll(".legend > li").forEach(makeSwitch);
  }

  // What is seen, and where.

  #forget() {
    this.#placed = null;
    this.#show(null);
  }

  /** @returns {Placed[]} */
  #places() {
    if (this.#placed) return this.#placed;
    const frame = this.#frame.getBoundingClientRect();
    return (this.#placed = this.#marks.flatMap((mark) => {
      const { left, top, width, height } = (mark.element.querySelector("path") ?? mark.element).getBoundingClientRect();
      if (!width && !height && mark.element.closest("[hidden]")) return [];
      return [{ mark, x: left + width / 2 - frame.left, y: top + height / 2 - frame.top }];
    }));
  }

  /** @param {PointerEvent} event */
  #point(event) {
    const frame = this.#frame.getBoundingClientRect();
    const [x, y] = [event.clientX - frame.left, event.clientY - frame.top];
    const isBar = this.getAttribute("kind") === "bar"; // a bar is pointed at from anywhere in its row
    let nearest = null;
    let least = NEAR_PX;
    for (const placed of this.#places()) {
      const distance = isBar ? Math.abs(placed.y - y) : Math.hypot(placed.x - x, placed.y - y);
      if (distance < least) [nearest, least] = [placed, distance];
    }
    this.#show(nearest);
  }

  // The keyboard.

  #focus() {
    if (!this.#frame.matches(":focus-visible")) return;
    const places = this.#places();
    this.#tell(places.find(({ mark }) => mark === this.#here) ?? places[0]);
  }

  /** @param {KeyboardEvent} event */
  #press(event) {
    if (event.key === "Escape") return this.#show(null);
    const places = this.#places();
    const at = places.findIndex(({ mark }) => mark === this.#here);
    const next = at < 0 ? 0 : stepped(places, at, event.key);
    if (next === null || !places[next] || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    this.#tell(places[next]);
  }

  /** @param {Placed | undefined} placed */
  #tell(placed) {
    this.#show(placed ?? null);
    this.#said.textContent = placed?.mark.text ?? "";
  }

  // The tip.

  /** @param {Placed | null} placed */
  #show(placed) {
    this.#here?.element.classList.remove("is-here");
    this.#tip.hidden = !placed;
    if (!placed) return;
    this.#here = placed.mark;
    placed.mark.element.classList.add("is-here");
    const [name, ...values] = placed.mark.text.split("\n");
    this.#tip.replaceChildren(boldly(name ?? ""), values.join("\n"));
    const { width, height } = this.#tip.getBoundingClientRect();
    const above = placed.y - height - GAP_PX;
    const left = Math.max(0, Math.min(placed.x - width / 2, this.#frame.clientWidth - width));
    this.#tip.style.translate = `${left}px ${above < 0 ? placed.y + GAP_PX : above}px`;
  }

  // The legend.

  /** @param {Element} target */
  #toggle(target) {
    const button = target.closest(".legend button");
    if (!(button instanceof HTMLElement)) return;
    const shown = button.ariaPressed !== "true";
    button.ariaPressed = String(shown);
    this.querySelector(`[data-series="${button.dataset.of}"]`)?.toggleAttribute("hidden", !shown);
    this.#forget();
  }
}

/**
 * A mark with its title, which is taken from it: the browser would show it too.
 *
 * @param {Element} element
 * @returns {Mark}
 */
function takeMark(element) {
  const title = element.querySelector("title");
  const text = title?.textContent ?? "";
  title?.remove();
  const series = Number(element.closest("[data-series]")?.getAttribute("data-series"));
  return { element: /** @type {SVGElement} */ (element), series, text };
}

/**
 * Where an arrow key leads: along a series, or to the same place in the next one; null for any other key.
 *
 * @param {Placed[]} places
 * @param {number} at
 * @param {string} key
 */
function stepped(places, at, key) {
  if (key === "Home") return 0;
  if (key === "End") return places.length - 1;
  if (key === "ArrowRight") return Math.min(at + 1, places.length - 1);
  if (key === "ArrowLeft") return Math.max(at - 1, 0);
  if (key !== "ArrowUp" && key !== "ArrowDown") return null;
  const all = [...new Set(places.map(({ mark }) => mark.series))];
  const here = /** @type {Placed} */ (places[at]).mark.series;
  const wanted = all[all.indexOf(here) + (key === "ArrowDown" ? 1 : -1)];
  if (wanted === undefined) return at;
  const first = places.findIndex(({ mark }) => mark.series === here);
  const there = places.findIndex(({ mark }) => mark.series === wanted);
  const many = places.filter(({ mark }) => mark.series === wanted).length;
  return there + Math.min(at - first, many - 1);
}

/**
 * @param {Element} entry
 * @param {number} number
 */
function makeSwitch(entry, number) {
  const button = document.createElement("button");
  button.type = "button";
  button.ariaPressed = "true";
  button.dataset.of = String(number);
  button.append(...entry.childNodes);
  entry.append(button);
}

/** @param {string} text */
function boldly(text) {
  const strong = document.createElement("strong");
  strong.textContent = text;
  return strong;
}
