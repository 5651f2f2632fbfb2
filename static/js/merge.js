/**
 * Bring a list to what the server draws now. Items that stay are the same elements, so that a focused link keeps the
 * focus and a bar its motion.
 *
 * @param {HTMLElement} list
 * @param {HTMLElement} newer in the same order
 * @param {object} options
 * @param {string} options.key items that carry the same `data-<key>` are one
 * @param {(item: HTMLElement, newer: HTMLElement) => void} options.keep called for those that stay
 */
export function merge(list, newer, { key, keep }) {
  const newerItems = itemsOf(newer, key);
  const items = itemsOf(list, key);
  for (const [name, item] of items) if (!newerItems.has(name)) item.remove();
  /** @type {Element | null} */
  let last = null;
  for (const [name, newerItem] of newerItems) {
    const known = items.get(name);
    if (known) keep(known, newerItem);
    const item = known ?? document.importNode(newerItem, true);
    if (last === null && item !== list.firstElementChild) list.prepend(item);
    else if (last !== null && item !== last.nextElementSibling) last.after(item);
    last = item;
  }
}

/**
 * @param {HTMLElement} list
 * @param {string} key
 */
function itemsOf(list, key) {
  const items = /** @type {HTMLElement[]} */ ([...list.children]);
  return new Map(items.map((item) => [item.dataset[key] ?? "", item]));
}
