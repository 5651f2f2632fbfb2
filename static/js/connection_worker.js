/** The shared worker: it holds the one connection of all tabs of this browser. */
import { Pages } from "./pages.js";

const pages = new Pages();
addEventListener("connect", (event) => pages.add(/** @type {MessageEvent} */ (event).ports[0]));
