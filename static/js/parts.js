/**
 * The element that carries `data-part="name"` inside another. Raises an error where the page lacks it.
 *
 * @param {HTMLElement} element
 * @param {string} name
 */
export function part(element, name) {
  return inside(element, `[data-part="${name}"]`);
}

/**
 * @param {ParentNode} element
 * @param {string} selector
 */
export function inside(element, selector) {
  const found = element.querySelector(selector);
  if (found instanceof HTMLElement) return found;
  throw new Error(`The page has no ${selector}`);
}

/**
 * Set a text, unless it stands there already: a write that changes nothing still costs a layout, and may be read out.
 *
 * @param {Element} element
 * @param {string} text
 */
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}
