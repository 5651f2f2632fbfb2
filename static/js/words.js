/** How runs and times read: the same words as web/wording.py, live. */

/** Between the names of nested steps (jobs/progress.py). */
export const STEP_SEPARATOR = " › ";

const STATUS_WORDS = { queued: "Queued", processing: "Running", completed: "Completed", error: "Failed" };

/** @type {Record<string, string>} */
const ERROR_WORDS = {
  failed: "Failed",
  cancelled: "Cancelled",
  timeout: "Timed out",
  interrupted: "Interrupted",
  crashed: "Crashed",
};
const TONES = { queued: "still", processing: "active", completed: "good", error: "bad" };

/** @typedef {Pick<import("./wire.js").Update, "status" | "step" | "message" | "cancelling"> & { error?: { code: string } | null }} Told */

/** @param {Told} run */
export function statusWord({ status, error, cancelling }) {
  if (error) return ERROR_WORDS[error.code] ?? "Failed";
  return cancelling ? "Cancelling" : STATUS_WORDS[status];
}

/** @param {Told} run */
export function tone({ status, error }) {
  return error?.code === "cancelled" ? "still" : TONES[status];
}

/** @param {Told} run */
export function headline(run) {
  return run.status === "processing" && run.step ? run.step : statusWord(run);
}

/** Whole percent, rounded down: 100 stands only for what is complete. @param {number} progress */
export function percent(progress) {
  return String(Math.floor(progress));
}

/** What a screen reader says for the bar. @param {import("./wire.js").Update} update */
export function valueText(update) {
  return `${update.indeterminate ? "working" : `${percent(update.progress)} %`}, ${headline(update)}`;
}

/** 42 s, 3 min 05 s, 2 h 10 min. @param {number} seconds */
export function duration(seconds) {
  const whole = Math.max(0, Math.floor(seconds));
  const hours = Math.floor(whole / 3600);
  const minutes = Math.floor(whole / 60) % 60;
  const left = whole % 60;
  if (hours) return minutes ? `${hours} h ${twoDigits(minutes)} min` : `${hours} h`;
  if (minutes) return left ? `${minutes} min ${twoDigits(left)} s` : `${minutes} min`;
  return `${left} s`;
}

const SIZES = /** @type {const} */ ([[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]]);

/** just now, 20 s ago, 5 min ago. @param {number} seconds */
export function ago(seconds) {
  const fitting = seconds < 5 ? undefined : SIZES.find(([size]) => seconds >= size);
  return fitting ? `${Math.floor(seconds / fitting[0])} ${fitting[1]} ago` : "just now";
}

/** 812 B, 3.4 kB, 12 MB. @param {number} size */
export function filesize(size) {
  let scaled = size;
  for (const unit of ["B", "kB", "MB"]) {
    if (scaled < 1000) return `${rounded(scaled, unit !== "B" && scaled < 10 ? 1 : 0)} ${unit}`;
    scaled /= 1000;
  }
  return `${rounded(scaled, 1)} GB`;
}

/**
 * How much of a long list is on the page.
 *
 * @param {number} shown
 * @param {number | null} total null where nobody counted
 * @param {string} noun
 */
export function shownOf(shown, total, noun) {
  if (total === null) return `the newest ${counted(shown, noun)}`;
  return shown >= total ? counted(total, noun) : `the newest ${grouped(shown)} of ${counted(total, noun)}`;
}

/** @param {number} count @param {string} noun */
function counted(count, noun) {
  return `${grouped(count)} ${noun}${count === 1 ? "" : "s"}`;
}

/** @param {number} count */
function grouped(count) {
  return count.toLocaleString("en-US");
}

/** @param {number} number */
function twoDigits(number) {
  return String(number).padStart(2, "0");
}

/** As Python rounds: halves to the even digit. @param {number} number @param {number} digits */
function rounded(number, digits) {
  const options = { minimumFractionDigits: digits, maximumFractionDigits: digits, useGrouping: false };
  return new Intl.NumberFormat("en-US", { ...options, roundingMode: "halfEven" }).format(number);
}
