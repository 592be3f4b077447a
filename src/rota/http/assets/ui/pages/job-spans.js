// Where a job's time went: what it waited for, and each try as a bar; as the server has added it up.
import { html } from "../parts/view.js";
import { Loaded } from "../parts/load.js";
import { Panel } from "../parts/table.js";
import { OVER } from "../parts/icons.js";
import { duration, moment, now, useTicking } from "../parts/time.js";

const MOST = 40;
const OUTCOME = { succeeded: "succeeded", errored: "failed", timed_out: "failed", out_of_memory: "failed", bad_result: "failed", lost: "failed", interrupted: "canceled", snoozed: "scheduled", aborted: "aborted" };
const WAITS = { dependency: ["for other jobs", "blocked"], scheduled: ["for its time", "scheduled"], queued: ["for a slot", "queued"], backoff: ["backed off", "retrying"], other: ["not told", "canceled"] };

function bars(job, spans, attempts) {
  const begin = Date.parse(job.submitted_at);
  const tries = new Map((attempts ?? []).map((one) => [one.attempt, one]));
  const found = spans.map(({ part, begin_s: from, end_s: to, attempt }) => {
    const bar = { from: begin + 1000 * from, to: begin + 1000 * to };
    if (part !== "ran") return { ...bar, wait: true, name: WAITS[part][0], of: WAITS[part][1] };
    const one = tries.get(attempt);
    const of = one?.finished_at ? OUTCOME[one.outcome] ?? "canceled" : "running";
    return { ...bar, name: `attempt ${attempt}`, of, note: one && `${one.outcome?.replaceAll("_", " ") ?? "running"} on ${one.worker}` };
  });
  if (found.length > 0 && !OVER.has(job.state)) found.at(-1).to = Math.max(found.at(-1).to, now());
  return found;
}

/** `why` is the job's explanation; `attempts` say how each try ended. */
export function Spans({ job, why, attempts }) {
  useTicking(() => (OVER.has(job.state) ? 0 : Math.floor(now() / 1000)));
  if (job.array) return null;
  const text = why.data?.time.text;
  return html`<${Panel} id="time" title="Where its time went" aside=${text && html`<span class="in-words">${text}</span>`}><${Loaded} of=${why} lines=${2}>${({ time }) => {
    const all = bars(job, time.spans, attempts);
    if (all.length === 0) return html`<p class="quiet pad">It was submitted just now.</p>`;
    const shown = all.slice(-MOST);
    const from = shown[0].from;
    const scale = Math.max(1, shown.at(-1).to - from);
    return html`<div class="spans">${all.length > MOST && html`<p class="quiet">The last ${MOST} parts.</p>`}${shown.map((one, at) => html`<div class="span" key=${at}><span class="span-name" title=${one.note ?? one.name}>${one.name}</span>
      <span class=${`span-track is-${one.of}`} title=${`${moment(one.from)} – ${moment(one.to)}${one.note ? `: ${one.note}` : ""}`}><i class=${one.wait ? "wait" : ""} style=${{ left: `${((one.from - from) / scale) * 100}%`, width: `${((one.to - one.from) / scale) * 100}%` }}></i></span>
      <span class="num">${duration((one.to - one.from) / 1000)}</span></div>`)}</div>`;
  }}<//><//>`;
}
