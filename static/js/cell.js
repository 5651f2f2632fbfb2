/** Only these may become links: javascript: and data: never do. */
const WEB_ADDRESS = /^https?:\/\/[^\s\x00-\x1f]+$/;

/**
 * A value as a table cell: the same as the macro `cell` in templates/parts/value.html.
 *
 * @param {unknown} value
 * @returns {HTMLTableCellElement}
 */
export function cellOf(value) {
  const cell = document.createElement("td");
  if (typeof value === "number") cell.className = "is-number";
  if (typeof value === "string" && WEB_ADDRESS.test(value)) cell.append(linkTo(value));
  else cell.textContent = textOf(value);
  return cell;
}

/** @param {unknown} value */
function textOf(value) {
  if (value === null || value === undefined) return "";
  if (typeof value === "boolean") return value ? "yes" : "no";
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

/** @param {string} address */
function linkTo(address) {
  const link = document.createElement("a");
  link.href = address;
  link.rel = "noreferrer noopener";
  link.textContent = address;
  return link;
}
