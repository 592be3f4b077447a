// All schedules, and a form for a new one that shows when it would fire.
import { html } from "../parts/view.js";
import { get, part, post } from "../parts/api.js";
import { useLoad, Loaded } from "../parts/load.js";
import { Table } from "../parts/table.js";
import { Icon } from "../parts/icons.js";
import { Time } from "../parts/time.js";
import { go, href, useQuery } from "../parts/route.js";
import { attempt } from "../parts/dialog.js";
import { Command } from "../parts/json.js";
import { nameOf } from "../parts/jobs.js";
import { change } from "./schedule-form.js";

const PAGE = 50;
export const schedulePath = (id) => `/schedules/${part(id)}`;

export default function Schedules() {
  const [query, turn] = useQuery();
  const cursor = query.get("cursor");
  const owner = query.get("owner");
  const of = useLoad((signal) => get("/v1/schedules", { limit: PAGE, cursor, owner }, { signal }), [cursor, owner], { every: 5000 });
  const toggle = (one) => attempt(() => post(`/v1/schedules/${part(one.id)}/${one.paused_at ? "resume" : "pause"}`).then(of.reload), one.paused_at ? `${one.name} goes on` : `${one.name} is paused`);
  const add = () => change(null, (made) => go(schedulePath(made.id)));
  return html`<div class="page">
    <div class="page-head"><h1>Schedules</h1><div class="head-end"><button class="primary" onClick=${add}><${Icon} name="submit" />New schedule</button></div></div>
    <${Loaded} of=${of} lines=${6}>${({ items, next }) => (items.length === 0 && !cursor ? html`<div class="empty"><h2>No schedule yet</h2><p>A schedule submits a job again and again, by a rule and in a time zone:</p><${Command} text=${"rota schedule add '0 9 * * MON-FRI' --timezone Europe/Berlin HANDLER"} /></div>` : html`
      <${Table} label="Schedules" rows=${items} link=${(one) => schedulePath(one.id)} columns=${[
        { name: "name", head: "Schedule", kind: "title", cell: (one) => html`<a class="strong" href=${href(schedulePath(one.id))}>${one.name}</a>` },
        { name: "rule", head: "Rule", cell: (one) => html`<span class="mono">${one.rule}</span>` },
        { name: "zone", head: "Zone", cell: (one) => html`<span class="quiet">${one.timezone}</span>` },
        { name: "job", head: "Job", cell: (one) => nameOf(one.job) },
        { name: "next", head: "Next", cell: (one) => (one.paused_at ? html`<span class="state is-canceled"><${Icon} name="pause" />paused</span>` : one.next_at ? html`<${Time} at=${one.next_at} />` : html`<span class="quiet">no more</span>`) },
        { name: "owner", head: "Owner", kind: "brief", cell: (one) => one.owner },
        { name: "do", head: "", kind: "end", cell: (one) => html`<button class="small" onClick=${() => toggle(one)} aria-label=${`${one.paused_at ? "Resume" : "Pause"} ${one.name}`}><${Icon} name=${one.paused_at ? "play" : "pause"} size=${13} />${one.paused_at ? "Resume" : "Pause"}</button>` },
      ]} />
      <div class="pager">${cursor && html`<button onClick=${() => history.back()}><${Icon} name="left" />Back</button>`}<span></span>${next && html`<button onClick=${() => turn({ cursor: next })}>More<${Icon} name="right" /></button>`}</div>`)}<//></div>`;
}
