import { valueText } from "./words.js";

/**
 * Set a progress bar (templates/parts/bar.html) to where a run is. Its width is an attribute of a drawing, so that it
 * is right without a script and needs no inline style, which the page's CSP forbids.
 *
 * @param {Element} bar
 * @param {import("./wire.js").Update} update
 */
export function setBar(bar, update) {
  const working = update.status === "processing" && Boolean(update.indeterminate);
  bar.classList.toggle("is-indeterminate", working);
  bar.setAttribute("aria-valuetext", valueText(update));
  if (working) bar.removeAttribute("aria-valuenow");
  else bar.setAttribute("aria-valuenow", String(update.progress));
  bar.querySelector("rect")?.setAttribute("width", `${update.progress}%`);
}
