// Where a job's time went: what it waited for, and each try as a bar.
import { html } from "../parts/view.js";
import { Loaded } from "../parts/load.js";
import { Panel } from "../parts/table.js";
import { OVER } from "../parts/icons.js";
import { duration, moment, now, useTicking } from "../parts/time.js";

const MOST = 40;
const OUTCOME = { succeeded: "succeeded", errored: "failed", timed_out: "failed", out_of_memory: "failed", bad_result: "failed", lost: "failed", interrupted: "canceled", snoozed: "scheduled", aborted: "aborted" };
const ms = (text) => (text ? Date.parse(text) : null);

function parts(job, attempts) {
  const end = ms(job.finished_at) ?? now();
  const submitted = ms(job.submitted_at);
  const found = [];
  let from = submitted;
  const wait = (to, why) => { if (to - from >= 1) found.push({ name: why, wait: true, from, to, of: why === "backed off" ? "retrying" : why === "waited" ? "queued" : "scheduled" }); from = to; };
  for (const attempt of attempts) {
    const start = ms(attempt.started_at);
    wait(start, found.some((one) => !one.wait) ? "backed off" : "waited");
    const to = ms(attempt.finished_at) ?? end;
    found.push({ name: `attempt ${attempt.attempt}`, from: start, to, of: attempt.finished_at ? OUTCOME[attempt.outcome] ?? "canceled" : "running", note: `${attempt.outcome?.replaceAll("_", " ") ?? "running"} on ${attempt.worker}` });
    from = Math.max(from, to);
  }
  if (!OVER.has(job.state) && job.state !== "running") wait(now(), job.attempt ? "backs off" : job.state === "blocked" ? "blocked" : "waits");
  else if (OVER.has(job.state) && attempts.length === 0) wait(end, "waited");
  return { found, from: submitted, to: Math.max(end, ...found.map((one) => one.to)) };
}

/** `text`: the same in words. */
export function Spans({ job, attempts, text }) {
  useTicking(() => (OVER.has(job.state) ? 0 : Math.floor(now() / 1000)));
  if (job.array) return null;
  return html`<${Panel} id="time" title="Where its time went" aside=${text && html`<span class="in-words">${text}</span>`}><${Loaded} of=${attempts} lines=${2}>${(all) => {
    const { found, from, to } = parts(job, all.slice(-MOST));
    if (found.length === 0) return html`<p class="quiet pad">It was submitted just now.</p>`;
    const scale = Math.max(1, to - from);
    return html`<div class="spans">${all.length > MOST && html`<p class="quiet">The last ${MOST} of ${all.length} attempts.</p>`}${found.map((one, at) => html`<div class="span" key=${at}><span class="span-name" title=${one.note ?? one.name}>${one.name}</span>
      <span class=${`span-track is-${one.of}`} title=${`${moment(one.from)} – ${moment(one.to)}${one.note ? `: ${one.note}` : ""}`}><i class=${one.wait ? "wait" : ""} style=${{ left: `${((one.from - from) / scale) * 100}%`, width: `${((one.to - one.from) / scale) * 100}%` }}></i></span>
      <span class="num">${duration((one.to - one.from) / 1000)}</span></div>`)}</div>`;
  }}<//><//>`;
}
