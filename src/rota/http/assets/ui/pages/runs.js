// Runs of workflows: jobs that were submitted together and wait for each other.
import { html } from "../parts/view.js";
import { get, part } from "../parts/api.js";
import { useLoad, Loaded } from "../parts/load.js";
import { Table } from "../parts/table.js";
import { Icon, OVER, State } from "../parts/icons.js";
import { Time, Took, count } from "../parts/time.js";
import { href, useQuery } from "../parts/route.js";
import { brief } from "../parts/jobs.js";
import { Command } from "../parts/json.js";

const PAGE = 50;
const SHOWN = ["running", "succeeded", "failed", "aborted", "canceled"];
export const runPath = (id) => `/runs/${part(id)}`;

/** How many jobs are in each state, as a bar of all. */
export function Parts({ run }) {
  const order = ["succeeded", "failed", "aborted", "canceled", "running", "queued", "scheduled", "blocked"];
  return html`<span class="parts" role="img" aria-label=${order.filter((state) => run.counts[state]).map((state) => `${run.counts[state]} ${state}`).join(", ")}>${order.filter((state) => run.counts[state]).map((state) => html`<i key=${state} class=${`is-${state}`} style=${{ flexGrow: run.counts[state] }} title=${`${run.counts[state]} ${state}`}></i>`)}</span>`;
}

export default function Runs() {
  const [query, change] = useQuery();
  const state = query.get("state"), owner = query.get("owner"), name = query.get("name"), cursor = query.get("cursor");
  const of = useLoad((signal) => get("/v1/runs", { state, owner, name, cursor, limit: PAGE }, { signal }), [state, owner, name, cursor], { concerns: () => true, every: 5000 });
  const field = (key, label) => html`<label class="field" key=${`${key} ${query.get(key) ?? ""}`}><span>${label}</span><input type="search" data-search=${key === "name" ? "" : null} autocomplete="off" spellcheck="false" placeholder="any" defaultValue=${query.get(key) ?? ""} onChange=${(event) => change({ cursor: null, [key]: event.target.value.trim() || null })} /></label>`;
  return html`<div class="page"><div class="page-head"><h1>Runs</h1></div>
    <div class="filters"><div class="chips" role="group" aria-label="State">${SHOWN.map((each) => html`<button key=${each} class=${`chip is-${each}`} aria-pressed=${String(state === each)} onClick=${() => change({ cursor: null, state: state === each ? null : each })}><${Icon} name=${each} size=${14} /><span>${each}</span></button>`)}</div><div class="fields">${field("name", "Name")}${field("owner", "Owner")}</div></div>
    <${Loaded} of=${of} lines=${6}>${({ items, next }) => (items.length === 0 ? (query.toString() ? html`<div class="empty"><h2>No run is like this</h2></div>` : html`<div class="empty"><h2>No run yet</h2><p>A run is a workflow: jobs that wait for each other, submitted together.</p><${Command} text="rota run submit FILE" /></div>`) : html`
      <${Table} label="Runs" rows=${items} link=${(run) => runPath(run.id)} columns=${[
        { name: "name", head: "Run", kind: "title", cell: (run) => html`<a class="strong" href=${href(runPath(run.id))}>${run.name ?? brief(run.id)}</a>` },
        { name: "state", head: "State", cell: (run) => html`<${State} of=${run.abort_requested_at && !OVER.has(run.state) ? "aborting" : run.state} />` },
        { name: "parts", head: "", kind: "wide", cell: (run) => html`<${Parts} run=${run} />` },
        { name: "size", head: "Jobs", kind: "num", cell: (run) => count(run.size) },
        { name: "owner", head: "Owner", kind: "brief", cell: (run) => run.owner },
        { name: "took", head: "Took", kind: "num", cell: (run) => html`<${Took} from=${run.started_at} to=${run.finished_at} />` },
        { name: "at", head: "Submitted", kind: "end", cell: (run) => html`<${Time} at=${run.submitted_at} />` },
      ]} /><div class="pager">${cursor && html`<button onClick=${() => history.back()}><${Icon} name="left" />Back</button>`}<span></span>${next && html`<button onClick=${() => change({ cursor: next })}>Older<${Icon} name="right" /></button>`}</div>`)}<//></div>`;
}
