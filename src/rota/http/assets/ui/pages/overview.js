// What goes on: counts, charts, queues, workers, what failed lately, what comes next.
import { html, useRef } from "../parts/view.js";
import { get, isAdmin } from "../parts/api.js";
import { useLoad, Loaded, Trouble } from "../parts/load.js";
import { Bar, Empty, Panel, Table } from "../parts/table.js";
import { Icon, State } from "../parts/icons.js";
import { Time, Took, compact, count, duration, rateText } from "../parts/time.js";
import { inputOf, jobPath, nameOf } from "../parts/jobs.js";
import { href } from "../parts/route.js";
import { Command } from "../parts/json.js";
import { Charts } from "./overview-charts.js";

const any = () => true;
const MOST_WORKERS = 8;

export default function Overview() {
  const busy = useRef(false);
  const look = async (signal) => {
    const found = await get("/v1/overview", {}, { signal });
    busy.current = found.running.length > 0;
    return found;
  };
  const all = useLoad(look, [], { concerns: any, every: () => (busy.current ? 2000 : 10_000), first: true });
  const of = { ...all, error: null }; // it is said once
  return html`<div class="page overview"><h1 class="hidden">Overview</h1><${Trouble} error=${all.error} retry=${all.reload} />
    ${isAdmin() ? html`<${Counts} of=${of} /><${Charts} />` : html`<${Own} />`}
    <div class="columns"><div>
      <${Running} of=${of} />
      ${isAdmin() && html`<${Queues} of=${of} />`}
    </div><div>
      <${Failures} />
      ${isAdmin() ? html`<${Panel} id="next" title="Schedules due next" more=${href("/schedules")}><${Loaded} of=${of}>${({ stats }) => html`<${Due} due=${stats.schedules_next} />`}<//><//><${Workers} of=${of} />` : html`<${Next} />`}
    </div></div></div>`;
}

function Tile({ state, name, value, note, to }) {
  return html`<a class=${`tile is-${state}`} href=${href(to)}><span class="tile-name"><${Icon} name=${state} />${name}</span><b>${compact(value)}</b><span class="tile-note">${note ?? "\u00a0"}</span></a>`;
}

/** How many a minute, as short as can be. */
const aMinute = (rate) => `${rate === 0 ? "0" : rate < 0.095 ? "< 0.1" : rate < 9.95 ? rate.toFixed(1) : compact(rate)}/min`;

function Counts({ of }) {
  return html`<${Loaded} of=${of} lines=${2}>${({ stats: { jobs, slots, slots_in_use: used, oldest, rates } }) => {
    if (Object.values(jobs).every((n) => n === 0)) return html`<${First} />`;
    return html`<div class="tiles">
      <${Tile} state="running" name="Running" value=${jobs.running} note=${`${used} of ${slots} slots`} to="/jobs?state=running" />
      <${Tile} state="queued" name="Queued" value=${jobs.queued} note=${oldest ? `the oldest for ${duration(oldest.age)}` : jobs.queued ? "held back" : "nothing waits"} to="/jobs?state=queued" />
      <${Tile} state="scheduled" name="Scheduled" value=${jobs.scheduled} note="for a time or a retry" to="/jobs?state=scheduled" />
      <${Tile} state="blocked" name="Blocked" value=${jobs.blocked} note="by other jobs" to="/jobs?state=blocked" />
      <${Tile} state="succeeded" name="Succeeded" value=${jobs.succeeded} to="/jobs?state=succeeded" note=${aMinute(rates.succeeded)} />
      <${Tile} state="failed" name="Failed" value=${jobs.failed} to="/jobs?state=failed" note=${`${aMinute(rates.failed)}; ${compact(jobs.aborted)} aborted`} />
    </div>`;
  }}<//>`;
}

const SHOWN = ["running", "queued", "scheduled", "blocked", "succeeded", "failed"];

/** The jobs of who does not see those of all; of very many the server counts the newest. */
function Own() {
  const of = useLoad((signal) => get("/v1/jobs/count", {}, { signal }), [], { concerns: any, every: 10_000 });
  return html`<${Loaded} of=${of} lines=${2}>${({ count: all, exact, states }) => (all === 0 && exact ? html`<${First} />` : html`<div class="tiles">${SHOWN.map((state) => html`<${Tile} key=${state} state=${state} name=${state[0].toUpperCase() + state.slice(1)} value=${states[state] ?? 0} note=${exact ? null : `of the newest ${compact(all)}`} to=${`/jobs?state=${state}`} />`)}</div>`)}<//>`;
}

function First() {
  return html`<div class="first"><h2>No job yet</h2><p>Submit one, and watch it here:</p><${Command} text=${"rota script - <<< 'for n in 1 2 3; do echo line $n; sleep 1; done'"} />
    <p>Or <a href=${href("/submit")}>fill in a form</a>.</p></div>`;
}

function Running({ of }) {
  return html`<${Panel} id="running" title="Running now" more=${href("/jobs?state=running")}>
    <${Loaded} of=${of} empty=${html`<p class="quiet pad">Nothing runs.</p>`}>${({ running }) => running.length > 0 && html`<${Table} label="Running jobs" rows=${running} link=${(job) => jobPath(job.id)} columns=${[
      { name: "name", head: "Job", kind: "title name", cell: (job) => html`<a class="strong" href=${href(jobPath(job.id))}>${nameOf(job)}</a><span class="with">${inputOf(job)}</span>` },
      { name: "progress", head: "Progress", kind: "wide", cell: (job) => html`<${Progress} job=${job} />` },
      { name: "took", head: "For", kind: "num", cell: (job) => html`<${Took} from=${job.started_at} />` },
      { name: "owner", head: "Owner", kind: "brief", cell: (job) => job.owner },
    ]} />`}<//>
  <//>`;
}

export function Progress({ job }) {
  if (job.display_state === "aborting") return html`<${State} of="aborting" />`;
  if (job.array) {
    const { done, inputs, failed, eta } = job.array;
    return html`<span class="progress"><${Bar} value=${done} of=${inputs} label="Inputs that are over" kind=${failed ? "some-failed" : ""} /><span>${compact(done)} of ${compact(inputs)}${eta !== null ? `, ${duration(eta)} left` : ""}</span></span>`;
  }
  const { fraction, message } = job.progress ?? {};
  if (fraction === undefined && !message) return html`<span class="quiet">–</span>`;
  return html`<span class="progress">${typeof fraction === "number" && html`<${Bar} value=${fraction} label="Progress" />`}<span>${typeof fraction === "number" ? `${Math.floor(fraction * 100)} % ` : ""}${message}</span></span>`;
}

/** What failed in the last day, those that are alike as one. */
function Failures() {
  const of = useLoad((signal) => get("/v1/errors", {}, { signal }), [], { concerns: (batch) => batch.kinds.has("failed") || batch.kinds.has("retrying"), every: 30_000 });
  const find = (group) => `/jobs?${new URLSearchParams({ ...(group.handler ? { handler: group.handler } : {}), error: group.type })}`;
  return html`<${Panel} id="failures" title="Failures of the last day" more=${href("/jobs?state=failed")} aside=${of.data?.cut && html`the newest ${count(of.data.looked_at)}`}>
    <${Loaded} of=${of}>${({ items }) => items.length === 0 ? html`<p class="quiet pad">Nothing has failed.</p>` : html`<ul class="lines">${items.slice(0, 8).map((group, at) => html`<li key=${at}><a href=${href(group.jobs.length === 1 ? jobPath(group.jobs[0]) : find(group))} title=${group.example}><span class="line-top"><span class="clip"><span class="group-count">${compact(group.count)}</span><b>${group.handler ?? group.kind}</b></span><${Time} at=${group.last_at} /></span><span class="line-sub is-failed">${group.type}: ${group.message}</span></a></li>`)}</ul>`}<//>
  <//>`;
}

function Next() {
  const of = useLoad((signal) => get("/v1/schedules", { limit: 200 }, { signal }).then((page) => page.items), [], { every: 30_000 });
  return html`<${Panel} id="next" title="Schedules due next" more=${href("/schedules")}>
    <${Loaded} of=${of}>${(all) => {
      return html`<${Due} due=${all.filter((one) => one.next_at).sort((a, b) => (a.next_at < b.next_at ? -1 : 1)).slice(0, 5)} />`;
    }}<//>
  <//>`;
}

function Due({ due }) {
  return due.length === 0 ? html`<p class="quiet pad">None is due.</p>` : html`<ul class="lines">${due.map((one) => html`<li key=${one.id}><a href=${href(`/schedules/${encodeURIComponent(one.id)}`)}><span class="line-top"><b>${one.name}</b><${Time} at=${one.next_at} /></span><span class="line-sub mono">${one.rule}${one.timezone !== "UTC" ? ` · ${one.timezone}` : ""}</span></a></li>`)}</ul>`;
}

/** What waits in queues, how fast it goes, and what holds it back. Limits change seldom. */
function Queues({ of }) {
  const set = useLoad((signal) => get("/v1/queues", {}, { signal }).then((page) => new Map(page.items.map((one) => [one.name, one]))), [], { every: 30_000 });
  const limits = (name) => {
    const one = set.data?.get(name);
    const held = [one?.paused && "paused", one?.concurrency && `${count(one.concurrency)} at once`, rateText(one?.rate)].filter(Boolean);
    return held.length ? held.join(", ") : html`<span class="quiet">–</span>`;
  };
  return html`<${Panel} id="queues" title="Queues" more=${href("/queues")}>
    <${Loaded} of=${of}>${({ stats: { queues, oldest_ready: oldest, queue_rates: rates } }) => {
      const rows = Object.entries(queues).map(([name, counts]) => ({ name, ...counts, oldest: oldest[name], rate: rates[name] ?? 0 })).sort((a, b) => (b.queued ?? 0) - (a.queued ?? 0) || (a.name < b.name ? -1 : 1)).slice(0, 12);
      return rows.length === 0 ? html`<p class="quiet pad">No queue has a job.</p>` : html`<${Table} label="Queues" rows=${rows} rowKey=${(row) => row.name} link=${(row) => `/jobs?queue=${encodeURIComponent(row.name)}`} columns=${[
        { name: "name", head: "Queue", kind: "title", cell: (row) => html`<a class="strong" href=${href(`/jobs?queue=${encodeURIComponent(row.name)}`)}>${row.name}</a>` },
        { name: "queued", head: "Queued", kind: "num", cell: (row) => count(row.queued ?? 0) },
        { name: "oldest", head: "Oldest", kind: "num", cell: (row) => duration(row.oldest) },
        { name: "running", head: "Running", kind: "num", cell: (row) => count(row.running ?? 0) },
        { name: "later", head: "Later", kind: "num", cell: (row) => count((row.scheduled ?? 0) + (row.blocked ?? 0)) },
        { name: "rate", head: "Ended", kind: "num", cell: (row) => aMinute(row.rate) },
        { name: "limits", head: "Limits", cell: (row) => limits(row.name) },
      ]} />`;
    }}<//>
  <//>`;
}

function Workers({ of }) {
  return html`<${Panel} id="workers" title="Workers" more=${href("/workers")} aside=${of.data?.stats.workers > MOST_WORKERS && html`${MOST_WORKERS} of ${count(of.data.stats.workers)}`}>
    <${Loaded} of=${of}>${({ workers }) => workers.length === 0 ? html`<${Empty} title="No worker is there" command="rota worker --app MODULE:NAME">Jobs wait until one comes.<//>` : html`<ul class="lines">${workers.slice(0, MOST_WORKERS).map((one) => html`<li key=${one.id}><a href=${href("/workers")}><span class="line-top"><b>${one.name}</b><span class="num">${one.running} of ${one.slots}</span></span><span class="line-sub"><${Bar} value=${one.running} of=${one.slots} label=${`Slots of ${one.name} in use`} /></span></a></li>`)}</ul>`}<//>
  <//>`;
}
