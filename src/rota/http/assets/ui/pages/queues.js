// Queues: what waits in each, a switch that lets none of its jobs start, what may run at once, and its weight beside others.
import { html, useState, useId } from "../parts/view.js";
import { get, isAdmin, part, patch, post } from "../parts/api.js";
import { useLoad, Loaded, Trouble } from "../parts/load.js";
import { Bar, Table } from "../parts/table.js";
import { Icon } from "../parts/icons.js";
import { Time, count, rateText } from "../parts/time.js";
import { href } from "../parts/route.js";
import { attempt, confirm, say, show } from "../parts/dialog.js";
import { LimitFields, Limits, limitOf } from "./queue-limits.js";

const find = (name) => `/jobs?queue=${encodeURIComponent(name)}`;

export default function Queues() {
  const of = useLoad((signal) => get("/v1/queues", {}, { signal }).then((page) => page.items), [], { concerns: () => true, every: 5000 });
  const turn = (one) => (one.paused
    ? attempt(() => post(`/v1/queues/${part(one.name)}/resume`).then(of.reload), `${one.name} goes on.`)
    : confirm({ title: "Pause this queue?", action: "Pause", text: html`<p>No job of <b>${one.name}</b> starts until it is resumed. The ${count(one.running ?? 0)} that run go on.</p>`, work: () => post(`/v1/queues/${part(one.name)}/pause`).then(() => { say(`${one.name} is paused.`); of.reload(); }) }));
  const edit = (one) => show(`Limits of ${one.name}`, (close) => html`<${Form} one=${one} close=${close} then=${of.reload} />`);
  return html`<div class="page"><div class="page-head"><h1>Queues</h1></div>
    <${Loaded} of=${of}>${(items) => (items.length === 0 ? html`<div class="empty"><h2>No queue yet</h2><p>A queue comes with its first job: <code>rota submit HANDLER --queue NAME</code></p></div>` : html`<${Table} label="Queues" rows=${items} rowKey=${(one) => one.name} link=${(one) => find(one.name)} columns=${[
      { name: "name", head: "Queue", kind: "title", cell: (one) => html`<a class="strong" href=${href(find(one.name))}>${one.name}</a>` },
      { name: "state", head: "State", cell: (one) => (one.paused ? html`<span class="state is-aborted" title=${one.paused_by}><${Icon} name="pause" />paused <${Time} at=${one.paused_at} /></span>` : html`<span class="state is-succeeded"><${Icon} name="play" />open</span>`) },
      { name: "queued", head: "Queued", kind: "num", cell: (one) => count(one.queued) },
      { name: "waiting", head: "Waiting in all", kind: "num", cell: (one) => count(one.waiting) },
      { name: "running", head: "Running", kind: "wide", cell: (one) => html`<span class="progress">${one.concurrency !== null && one.running !== null && html`<${Bar} value=${one.running} of=${one.concurrency} kind=${one.running >= one.concurrency ? "full" : ""} label=${`${one.name} in use`} />`}<span class="num">${count(one.running)}${one.concurrency !== null ? ` of ${count(one.concurrency)}` : ""}</span></span>` },
      { name: "rate", head: "Rate", cell: (one) => rateText(one.rate) ?? html`<span class="quiet">any</span>` },
      { name: "weight", head: "Weight", kind: "num", cell: (one) => (one.weight === 1 ? html`<span class="quiet">1</span>` : one.weight) },
      ...(isAdmin() ? [{ name: "do", head: "", kind: "end", cell: (one) => html`<span class="row-do"><button class="small" onClick=${() => edit(one)} aria-label=${`Limits of ${one.name}`}><${Icon} name="settings" size=${13} />Limits</button><button class="small" onClick=${() => turn(one)} aria-label=${`${one.paused ? "Resume" : "Pause"} ${one.name}`}><${Icon} name=${one.paused ? "play" : "pause"} size=${13} />${one.paused ? "Resume" : "Pause"}</button></span>` }] : []),
    ]} />`)}<//><${Limits} /></div>`;
}

function Form({ one, close, then }) {
  const [error, fail] = useState(null);
  const id = useId("q");
  const send = async (event) => {
    event.preventDefault();
    const form = new FormData(event.target);
    const body = limitOf(form, one);
    const weight = form.get("weight").trim() ? Number(form.get("weight")) : null;
    if ((weight ?? 1) !== one.weight) body.weight = weight;
    try {
      await patch(`/v1/queues/${part(one.name)}`, body);
      say("Set.");
      then();
      close(true);
    } catch (problem) { fail(problem); }
  };
  return html`<form onSubmit=${send}><${Trouble} error=${error} />
    <${LimitFields} id=${id} one=${one} />
    <div class="form-row"><label for=${`${id}w`}>Weight</label><input id=${`${id}w`} name="weight" type="number" step="any" min="0.001" max="1000" defaultValue=${one.weight === 1 ? "" : one.weight} placeholder="1" /><p class="hint">Its starts beside those of other queues of the same priority.</p></div>
    <div class="dialog-actions"><button type="button" onClick=${() => close(false)}>Keep as it is</button><button class="primary">Set</button></div></form>`;
}
