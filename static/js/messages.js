/**
 * What a page and the connection of its browser say to each other through a MessagePort.
 *
 * @typedef {object} Wish what a page wants to hear; it always says all of it
 * @property {Record<string, number>} follow runs of which it wants every event, each with the number of the last it has
 * @property {string[]} shows runs of which it wants the latest update
 * @property {boolean} newest whether it also wants to hear of runs that are newer than the oldest it shows
 *
 * @typedef {{ type: "follow", wish: Wish }
 *   | { type: "here", wish: Wish }
 *   | { type: "bye" }} FromPage
 *   `follow` when somebody begins to look at it, `here` now and then after that, `bye` when nobody looks any more
 *
 * @typedef {import("./wire.js").Update & import("./wire.js").Numbered} LatestUpdate
 *
 * @typedef {{ type: "event", name: string, event: import("./wire.js").Numbered }
 *   | { type: "update", update: LatestUpdate }
 *   | { type: "reset", run: string }
 *   | { type: "gone", run: string }
 *   | { type: "connection", kind: import("./wire.js").Connection["kind"], retryInMs?: number }
 *   | { type: "heard" }
 *   | { type: "full" }} ToPage
 *   `event` is the next of a followed run, `update` the latest of a run, with others left out. `reset`: all of the run
 *   comes again from the start. `gone`: there is no such run. `heard` answers each message. `full`: no more runs can
 *   be followed here
 */

/**
 * The worker's name. Its number changes with the messages and with what the worker does, so that a page of a newer
 * server does not speak to the worker that an older tab still holds.
 */
export const WORKER_NAME = "headway-1";
