// One run: its jobs as a graph and as a list, stopped or run again as a whole.
import { html, useState } from "../parts/view.js";
import { get, part, post } from "../parts/api.js";
import { useLoad, Loaded } from "../parts/load.js";
import { Panel, Table } from "../parts/table.js";
import { Icon, OVER, State } from "../parts/icons.js";
import { Time, Took, count } from "../parts/time.js";
import { go, href, useQuery } from "../parts/route.js";
import { confirm, say } from "../parts/dialog.js";
import { Copy } from "../parts/json.js";
import { Graph } from "../parts/graph.js";
import { jobPath } from "../parts/jobs.js";
import { useKeys } from "../parts/keys.js";
import { Parts, runPath } from "./runs.js";

const MOST = 3000;

async function graphOf(path, signal) {
  const nodes = [], edges = [];
  let cursor = null;
  do {
    const page = await get(`${path}/graph`, { limit: 1000, cursor }, { signal });
    nodes.push(...page.nodes);
    edges.push(...page.edges);
    cursor = page.next;
  } while (cursor && nodes.length < MOST);
  return { nodes, edges, cut: cursor !== null };
}

export default function Run({ id }) {
  const path = `/v1/runs/${part(id)}`;
  const [query, change] = useQuery();
  const tab = query.get("tab") ?? "graph";
  const of = useLoad((signal) => get(path, {}, { signal }), [id], { concerns: () => true, every: 5000 });
  const run = of.data;
  const graph = useLoad((signal) => graphOf(path, signal), [id], { concerns: (batch) => run && !OVER.has(run.state) && (graph.data?.nodes.some((node) => batch.jobs.has(node.id)) ?? true), every: 30_000 });
  const stop = () => confirm({ title: "Abort this run?", text: html`<p>What waits is canceled, what runs is aborted: ${count(run.size)} jobs in all.</p>`, action: "Abort", danger: true, work: async () => { await post(`${path}/abort`, {}); say("The run is being ended."); of.reload(); graph.reload(); } });
  const again = () => confirm({ title: "Run it again?", text: html`<p>A new run: what has succeeded stands, all else runs again.</p>`, action: "Run again", work: async () => { const made = await post(`${path}/retry`, {}); go(runPath(made.id)); } });
  useKeys({ a: () => run && !OVER.has(run.state) && stop(), r: () => run && OVER.has(run.state) && again() });
  return html`<div class="page"><${Loaded} of=${of} lines=${6}>${(run) => html`
    <div class="job-head"><div class="page-head"><h1>${run.name ?? "Run"}</h1><${State} of=${run.abort_requested_at && !OVER.has(run.state) ? "aborting" : run.state} /></div>
      <div class="job-line"><span class="mono">${run.id}<${Copy} text=${run.id} what="the id" /></span><span>${run.owner}</span><span>submitted <${Time} at=${run.submitted_at} /></span>${run.started_at && html`<span>ran <${Took} from=${run.started_at} to=${run.finished_at} /></span>`}${run.retry_of && html`<a class="inline-link" href=${href(runPath(run.retry_of))}>again, of an earlier one</a>`}
        ${Object.entries(run.labels).map(([name, value]) => html`<span key=${name} class="tag">${name}=${value}</span>`)}
        <span class="head-end"><a class="button" href=${href(`/jobs?run=${encodeURIComponent(run.id)}`)}><${Icon} name="jobs" />Its jobs</a>${OVER.has(run.state) ? html`<button onClick=${again}><${Icon} name="retry" />Run again</button>` : html`<button onClick=${stop}><${Icon} name="stop" />Abort</button>`}</span></div>
      <${Parts} run=${run} /></div>
    <div class="tabs" role="tablist" aria-label="Parts of the run">${[["graph", "Graph"], ["jobs", `Jobs (${count(run.size)})`]].map(([name, text]) => html`<button key=${name} role="tab" aria-selected=${String(tab === name)} onClick=${() => change({ tab: name === "graph" ? null : name }, { replace: true })}>${text}</button>`)}</div>
    <${Loaded} of=${graph}>${({ nodes, edges, cut }) => html`${cut && html`<p class="quiet note">The first ${count(nodes.length)} jobs are shown.</p>`}${tab === "graph" ? html`<div class="panel"><${Graph} nodes=${nodes} edges=${edges} label=${`${nodes.length} jobs that wait for each other`} /></div>` : html`<${Table} label="Jobs of the run" rows=${nodes} link=${(node) => jobPath(node.id)} columns=${[
      { name: "name", head: "Job", kind: "title", cell: (node) => html`<a class="strong" href=${href(jobPath(node.id))}>${node.ref ?? node.handler ?? node.kind}</a>` },
      { name: "state", head: "State", cell: (node) => html`<${State} of=${node.state} />` },
      { name: "handler", head: "Runs", cell: (node) => node.handler ?? node.kind },
      { name: "attempt", head: "Tries", kind: "num", cell: (node) => node.attempt },
      { name: "took", head: "Took", kind: "num", cell: (node) => (node.started_at ? html`<${Took} from=${node.started_at} to=${node.finished_at} />` : html`<span class="quiet">–</span>`) },
    ]} />`}`}<//>`}<//></div>`;
}
