/**
 * What the server sends, as types. See "Frames" in the documentation of the stream.
 *
 * @typedef {{ name: string, bytes: number, url?: string }} RunFile
 * @typedef {{ code: string, message: string }} RunError
 * @typedef {"queued" | "processing" | "completed" | "error"} Status
 *
 * @typedef {object} Update
 * @property {Status} status
 * @property {number} progress 0 to 100
 * @property {string | null} message
 * @property {string | null} step names of nested steps are joined by " › "
 * @property {boolean} [indeterminate] the total is unknown
 * @property {number} [eta_s] seconds left, as far as anybody can say
 * @property {boolean} [cancelling]
 * @property {RunError} [error]
 * @property {string} [time]
 *
 * @typedef {{ run: string, seq: number }} Numbered where an event stands: every event of a run has these as well
 *
 * @typedef {object} Run the answer of GET /api/v1/runs/<id>, as far as the pages use it
 * @property {string} id
 * @property {Status} status
 * @property {number} progress
 * @property {boolean} indeterminate
 * @property {string | null} message
 * @property {string | null} step
 * @property {number | null} eta_s
 * @property {boolean} cancelling
 * @property {RunError | null} error
 * @property {number} cursor number of the last event
 *
 * @typedef {{ steps: string[] }} Plan
 * @typedef {{ level: string, message: string, time: string }} LogLine
 * @typedef {{ text: string }} Output
 * @typedef {{ row: Record<string, unknown> }} Row
 *
 * @typedef {object} Hello the first frame of the stream of all runs
 * @property {Record<string, { from: number, head: number, reset: boolean }>} follow
 * @property {string[]} gone runs that are to be followed and do not exist
 * @property {number} heartbeat_s
 *
 * @typedef {object} Connection how the page's connection is, for people
 * @property {"connecting" | "live" | "lost" | "busy" | "polling" | "unauthorized" | "gone" | "incomplete" | "ended"} kind
 * @property {number} [retryAt] when it is tried again, on the clock of performance.now()
 *
 * @typedef {object} RunEvents what <run-stream> dispatches, each as run:<name> with this detail; <run-list> dispatches
 *   run:connection alone
 * @property {Update} update
 * @property {Plan} plan
 * @property {LogLine} log
 * @property {Output} output
 * @property {Row} row
 * @property {null} reset everything comes again from the start
 * @property {Connection} connection
 */

/** @param {Status} status */
export function hasEnded(status) {
  return status === "completed" || status === "error";
}

/**
 * A run as the update that it last said.
 *
 * @param {Run} run
 * @returns {Update & Numbered}
 */
export function updateOf({ id, cursor, status, progress, message, step, indeterminate, eta_s, cancelling, error }) {
  const said = { status, progress, message, step, indeterminate, cancelling };
  return { ...said, eta_s: eta_s ?? undefined, error: error ?? undefined, run: id, seq: cursor };
}
