/** The one place where elements get their names. <run-stream> comes last: those inside it must hear its first event. */
import { CopyCode } from "./copy_code.js";
import { RunCancel } from "./run_cancel.js";
import { RunConnection } from "./run_connection.js";
import { RunList } from "./run_list.js";
import { RunLog } from "./run_log.js";
import { RunOutput } from "./run_output.js";
import { RunPlan } from "./run_plan.js";
import { RunProgress } from "./run_progress.js";
import { RunRows } from "./run_rows.js";
import { RunStreamElement } from "./run_stream.js";
import { ServerPart } from "./server_part.js";
import { SubmitOnce } from "./submit_once.js";
import { TimeAgo } from "./time_ago.js";

customElements.define("copy-code", CopyCode);
customElements.define("run-cancel", RunCancel);
customElements.define("run-connection", RunConnection);
customElements.define("run-list", RunList);
customElements.define("run-log", RunLog);
customElements.define("run-output", RunOutput);
customElements.define("run-plan", RunPlan);
customElements.define("run-progress", RunProgress);
customElements.define("run-rows", RunRows);
customElements.define("server-part", ServerPart);
customElements.define("submit-once", SubmitOnce);
customElements.define("time-ago", TimeAgo);
customElements.define("run-stream", RunStreamElement);
