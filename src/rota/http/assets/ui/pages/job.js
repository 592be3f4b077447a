// One job: where it stands and why, its tries, its output, and what can be done with it.
import { html, useEffect, useMemo, useRef, useState } from "../parts/view.js";
import { get, part } from "../parts/api.js";
import { useLoad, Loaded, Trouble } from "../parts/load.js";
import { Bar, Empty, Panel, Table } from "../parts/table.js";
import { Icon, OVER, State } from "../parts/icons.js";
import { Time, Took, count, duration, moment, now } from "../parts/time.js";
import { Reasons } from "../parts/reasons.js";
import { JobLink, canEdit, canRetry, canStop, kindOf, nameOf, retry, stop, jobPath } from "../parts/jobs.js";
import { go, href, useQuery } from "../parts/route.js";
import { useKeys } from "../parts/keys.js";
import { Copy, Json } from "../parts/json.js";
import { edit } from "./job-edit.js";
import { Log } from "./job-log.js";
import { Inputs, openCell } from "./job-inputs.js";
import { InputMap } from "./job-map.js";
import { Spans } from "./job-spans.js";
import { Deliveries } from "./job-hook.js";
import { Around, waitsFor } from "./job-graph.js";
import { runPath } from "./runs.js";

export default function Job({ id }) {
  const mine = (batch) => batch.jobs.has(id);
  const path = `/v1/jobs/${part(id)}`;
  const lives = useRef(true);
  const of = useLoad((signal) => get(path, {}, { signal }).then((job) => { lives.current = !OVER.has(job.state); return job; }), [id], { concerns: mine, every: () => (lives.current ? 1500 : 60_000) });
  const job = of.data;
  const [query, change] = useQuery();
  const tab = query.get("tab") ?? "summary";
  useKeys({
    a: () => { if (job && canStop(job)) stop(job, of.reload); },
    r: () => { if (job && canRetry(job)) retry(job, (made) => go(jobPath(made.id))); },
    e: () => { if (job && canEdit(job)) edit(job, of.reload); },
  });
  return html`<div class="page"><${Loaded} of=${of} lines=${8}>${(job) => html`
    <${Head} job=${job} reload=${of.reload} />
    <div class="tabs" role="tablist" aria-label="Parts of the job">${tabs(job).map(([name, text]) => html`<button key=${name} role="tab" aria-selected=${String(tab === name)} onClick=${() => change({ tab: name === "summary" ? null : name, at: null, many: null, after: null, show: null }, { replace: true })}>${text}</button>`)}</div>
    <${(TABS[tab] ?? TABS.summary)} key=${tab} job=${job} path=${path} mine=${mine} />`}<//></div>`;
}

const tabs = (job) => [["summary", "Summary"], job.array && ["inputs", `Inputs (${count(job.array.inputs)})`], ["log", "Output"], ["events", "Events"], job.hook && ["hook", "Hook"]].filter(Boolean);
const TABS = {
  summary: Summary,
  inputs: ({ job }) => html`<${Inputs} job=${job} />`,
  log: ({ job }) => html`<${Panel} id="log" title="Output"><${Log} job=${job} tall />  <//>`,
  events: Events,
  hook: ({ job, path }) => html`<${Deliveries} job=${job} path=${path} />`,
};

function Head({ job, reload }) {
  return html`<div class="job-head">
    <div class="page-head"><h1>${nameOf(job)}</h1><${State} of=${job.display_state} /></div>
    <div class="job-line"><span class="mono">${job.id}<${Copy} text=${job.id} what="the id" /></span>
      <span>${job.owner}</span><a class="inline-link" href=${href(`/jobs?queue=${encodeURIComponent(job.queue)}`)}>${job.queue}</a>
      ${Object.entries(job.labels).map(([name, value]) => html`<a key=${name} class="tag" href=${href(`/jobs?label=${encodeURIComponent(`${name}=${value}`)}`)}>${name}=${value}</a>`)}
      <span class="head-end">
        ${canEdit(job) && html`<button onClick=${() => edit(job, reload)}><${Icon} name="edit" />Change</button>`}
        ${canRetry(job) && html`<button onClick=${() => retry(job, (made) => go(jobPath(made.id)))}><${Icon} name="retry" />Run again</button>`}
        ${canStop(job) && html`<button onClick=${() => stop(job, reload)}><${Icon} name="stop" />${job.state === "running" ? "Abort" : "Cancel"}</button>`}
      </span></div></div>`;
}

function Summary({ job, path, mine }) {
  const attempts = useLoad((signal) => get(`${path}/attempts`, {}, { signal }).then((page) => page.items), [job.id, job.attempt, job.state], { concerns: mine });
  const why = useLoad((signal) => get(`${path}/explain`, {}, { signal }), [job.id, job.display_state, job.attempt], { concerns: mine, every: OVER.has(job.state) ? null : 3000 });
  return html`<div class="columns"><div>
    ${job.error && html`<${Failure} error=${job.error} job=${job} />`}
    <${Progress} job=${job} />
    <${Why} job=${job} of=${why} />
    <${Around} job=${job} />
    <${Spans} job=${job} why=${why} attempts=${attempts.data} />
    <${Proof} attempts=${attempts.data} job=${job} />
    ${job.result !== null && html`<${Panel} id="result" title="Result"><${Json} value=${job.result} label="Result" /><//>`}
    ${!job.array && job.started_at && html`<${Panel} id="output" title="Output"><${Log} job=${job} /><//>`}
  </div><div>
    <${Facts} job=${job} />
    <${Input} job=${job} />
  </div></div>`;
}

function Failure({ error, job }) {
  return html`<${Panel} id="error" title=${`Error${job.reason && job.reason !== "error" ? `: ${job.reason.replaceAll("_", " ")}` : ""}`}><div class="error-text"><b>${error.type}</b><p>${error.message}</p>
    ${error.traceback && html`<pre class="code-text" tabindex="0" role="group" aria-label="Traceback">${error.traceback}</pre>`}</div><//>`;
}

function Progress({ job }) {
  const { array, progress } = job;
  const [, change] = useQuery();
  if (array) {
    return html`<${Panel} id="progress" title="Inputs" more=${href(`${jobPath(job.id)}?tab=inputs`)}><div class="big-progress"><${Bar} value=${array.done} of=${array.inputs} label="Inputs that are over" kind=${array.failed ? "some-failed" : ""} />
      <p><span>${count(array.done)} of ${count(array.inputs)} over, ${count(array.running)} running${array.failed ? html`, <span class="is-failed">${count(array.failed)} failed</span>` : ""}</span><span>${array.halted ? `halted by ${array.halted}` : array.eta !== null && !OVER.has(job.state) ? `about ${duration(array.eta)} left` : ""}</span></p></div><${InputMap} job=${job} open=${openCell(job, change)} /><//>`;
  }
  if (!progress || (job.state !== "running" && OVER.has(job.state))) return null;
  return html`<${Panel} id="progress" title="Progress"><div class="big-progress">${typeof progress.fraction === "number" && html`<${Bar} value=${progress.fraction} label="Progress" />`}<p><span>${progress.message}</span><span class="num">${typeof progress.fraction === "number" ? `${(progress.fraction * 100).toFixed(0)} %` : ""}</span></p></div><//>`;
}

function Why({ job, of }) {
  if (OVER.has(job.state)) return null;
  return html`<${Panel} id="why" title=${job.state === "running" ? "Where it stands" : "Why it does not run yet"}>
    <${Loaded} of=${of} lines=${2}>${({ reasons }) => html`<${Reasons} reasons=${reasons} />`}<//><//>`;
}

function Proof({ attempts, job }) {
  const ended = attempts?.filter((one) => one.proof && (one.proof.signals?.length || one.proof.processes));
  if (!ended?.length) return null;
  return html`<${Panel} id="proof" title="How it was ended">${ended.slice(-3).map(({ attempt, proof }) => html`<div class="proof" key=${attempt}>
    <span>attempt ${attempt}</span>
    ${(proof.signals ?? []).map(([name, at]) => html`<span key=${name}><b>${name}</b> <span class="quiet">after ${duration(at)}</span></span>`)}
    <span><b class="num">${proof.processes ?? 0}</b> <span class="quiet">${proof.processes === 1 ? "process" : "processes"} ended</span></span>
    <span><span class="quiet">all gone after</span> <b>${duration(proof.took_s ?? 0)}</b></span>
    ${proof.survivors?.length > 0 && html`<span class="is-failed">survived: ${proof.survivors.join(", ")}</span>`}</div>`)}
    ${job.confirmed === false && html`<p class="pad is-aborted">Not confirmed: its worker was gone before it could say that the processes have ended.</p>`}<//>`;
}

function Facts({ job }) {
  const facts = [
    ["Submitted", html`<${Time} at=${job.submitted_at} />`],
    !job.started_at && !OVER.has(job.state) && ["To run", html`<${Time} at=${job.run_at} />`],
    job.started_at && ["Started", html`<${Time} at=${job.started_at} />`],
    job.finished_at && ["Finished", html`<${Time} at=${job.finished_at} />`],
    job.started_at && ["Ran", html`<${Took} from=${job.started_at} to=${job.finished_at} />`],
    ["Attempt", html`<span class="num">${job.attempt}</span>${job.max_failures !== null && job.failures ? html` <span class="quiet">· ${job.failures} of ${job.max_failures} failures used</span>` : ""}${job.crashes ? html` <span class="is-failed">· ${job.crashes} crashes</span>` : ""}`],
    job.worker && ["Worker", html`<span class="mono">${job.worker}</span>`],
    ["Priority", html`<span class="num">${job.priority}</span>`],
    job.timeout !== null && ["Timeout", duration(job.timeout)],
    ["Grace", duration(job.grace)],
    job.run && ["Run", html`<a class="mono" href=${href(runPath(job.run))}>${job.ref ?? "its run"}</a>`],
    job.after.length > 0 && ["After", waitsFor(job)],
    job.map && ["Over", html`<span class="mono">the result of ${job.map.over}</span>`],
    Object.keys(job.needs).length > 0 && ["Needs", Object.entries(job.needs).map(([name, value]) => html`<span class="tag" key=${name}>${name}=${String(value)}</span> `)],
    job.slots > 1 && ["Slots", html`<span class="num">${job.slots}</span>`],
    job.limit_key && ["Limit key", html`<span class="mono">${job.limit_key}</span>`],
    job.unique_key && ["Unique key", html`<span class="mono">${job.unique_key}</span>`],
    job.checkpoint && ["Checkpoint", html`<${Time} at=${job.checkpoint.at} /> <span class="quiet num">· ${count(job.checkpoint.size)} bytes</span>`],
    job.retry_of && ["Again, of", html`<${JobLink} id=${job.retry_of} />`],
    job.hook && ["Hook", html`<span class="mono">${job.hook}</span>`],
    job.secrets.length > 0 && ["Secrets", job.secrets.join(", ")],
    Object.keys(job.limits).length > 0 && ["Limits", Object.entries(job.limits).map(([name, value]) => `${name} ${value}`).join(", ")],
    job.traceparent && ["Trace", html`<span class="mono">${job.traceparent.split("-")[1]}</span>`],
  ].filter(Boolean);
  return html`<${Panel} id="facts" title="Facts"><dl class="facts">${facts.map(([name, value]) => html`<dt key=${name}>${name}</dt><dd>${value}</dd>`)}</dl><//>`;
}

function Input({ job }) {
  const text = job.script ?? job.command;
  const args = Array.isArray(job.args) && job.args.length > 0;
  return html`
    ${text && html`<${Panel} id="script" title=${job.command ? "Command" : "Script"} aside=${html`<${Copy} text=${text} what="the text" />`}><pre class="code-text" tabindex="0" role="group" aria-label="Text">${text}</pre><//>`}
    ${job.image && html`<${Panel} id="image" title="Image"><dl class="facts"><dt>Image</dt><dd class="mono">${job.image}</dd><dt>Network</dt><dd>${job.network}</dd><dt>Pull</dt><dd>${job.pull}</dd></dl><//>`}
    ${job.variables && Object.keys(job.variables).length > 0 && html`<${Panel} id="variables" title="Variables"><${Json} value=${job.variables} label="Variables" /><//>`}
    ${args && html`<${Panel} id="args" title="Arguments"><${Json} value=${job.args} label="Arguments" /><//>`}
    ${job.data !== null && html`<${Panel} id="data" title="Data"><${Json} value=${job.data} label="Data" /><//>`}`;
}

function Events({ job, path, mine }) {
  const [after, set] = useState(0);
  const of = useLoad((signal) => get(`${path}/events`, { limit: 200, after }, { signal }), [job.id, after], { concerns: mine });
  return html`<${Panel} id="events" title="What happened"><${Loaded} of=${of}>${({ items, next }) => html`<${Table} label="Events" rows=${items} rowKey=${(event) => String(event.seq)} columns=${[
    { name: "kind", head: "Event", kind: "title", cell: (event) => html`<span class="strong">${event.kind.replaceAll("_", " ")}</span>` },
    { name: "state", head: "State", cell: (event) => html`<${State} of=${event.state} />` },
    { name: "attempt", head: "Attempt", kind: "num", cell: (event) => event.attempt },
    { name: "why", head: "Why", kind: "wide", cell: (event) => event.why && html`<span class="clip" title=${event.why}>${event.why}</span>` },
    { name: "by", head: "By", kind: "brief", cell: (event) => event.by ?? html`<span class="quiet">–</span>` },
    { name: "at", head: "When", kind: "end", cell: (event) => html`<${Time} at=${event.at} absolute />` },
  ]} />${(after > 0 || next) && html`<div class="pager pad">${after > 0 && html`<button onClick=${() => set(0)}>The first</button>`}${next && html`<button onClick=${() => set(Number(next))}>Later</button>`}</div>`}`}<//><//>`;
}
