// Limits of handlers and of keys: how many of their jobs run at once, and how many start in a period.
import { html, useState, useId } from "../parts/view.js";
import { get, isAdmin, part, put, remove } from "../parts/api.js";
import { useLoad, Loaded, Trouble } from "../parts/load.js";
import { Bar, Panel, Table } from "../parts/table.js";
import { Icon } from "../parts/icons.js";
import { Time, count, rateText } from "../parts/time.js";
import { confirm, say, show } from "../parts/dialog.js";

const place = (one) => `/v1/limits/${part(one.kind)}/${part(one.name)}`;

/** A rate as it is set: `100/1m`. */
export const rateOf = (one) => (one.rate ? `${one.rate.n}/${one.rate.per}s` : null);

/** What the two fields of a limit say; what was not touched is left out. */
export function limitOf(form, one) {
  const concurrency = form.get("concurrency").trim(), rate = form.get("rate").trim();
  return { concurrency: concurrency ? Number(concurrency) : null, ...(rate === (rateOf(one) ?? "") ? {} : { rate: rate || null }) };
}

/** The two fields. */
export function LimitFields({ id, one }) {
  return html`<div class="form-row"><label for=${`${id}c`}>Running at once</label><input id=${`${id}c`} name="concurrency" type="number" min="1" defaultValue=${one.concurrency ?? ""} placeholder="any number" data-autofocus /></div>
    <div class="form-row"><label for=${`${id}r`}>Starts</label><input id=${`${id}r`} name="rate" defaultValue=${rateOf(one) ?? ""} placeholder="at any rate; 100/1m" /></div>`;
}

export function Limits() {
  const of = useLoad((signal) => get("/v1/limits", {}, { signal }).then((page) => page.items.filter((one) => one.kind !== "queue")), [], { concerns: () => true, every: 5000 });
  const edit = (one) => show(one.name ? `Limit of ${one.kind} ${one.name}` : "New limit", (close) => html`<${Form} one=${one} close=${close} then=${of.reload} />`);
  const drop = (one) => confirm({ title: "Remove this limit?", action: "Remove", text: html`<p>Jobs of ${one.kind} <b>${one.name}</b> start as they come.</p>`, work: () => remove(place(one)).then(() => { say("Removed."); of.reload(); }) });
  const fresh = html`<button class="small" onClick=${() => edit({ kind: "handler", name: "", concurrency: null, rate: null })}>New limit</button>`;
  return html`<${Panel} id="limits" title="Limits of handlers and keys" aside=${isAdmin() && fresh}><${Loaded} of=${of} lines=${2} empty=${html`<p class="quiet pad">None is set.</p>`}>${(items) => items.length > 0 && html`<${Table} label="Limits" rows=${items} rowKey=${(one) => `${one.kind}:${one.name}`} columns=${[
    { name: "name", head: "Of", kind: "title", cell: (one) => html`<span class="quiet">${one.kind}</span> <span class="strong mono">${one.name}</span>` },
    { name: "running", head: "Running", kind: "wide", cell: (one) => (one.concurrency === null ? html`<span class="quiet">any number</span>` : html`<span class="progress">${one.running !== null && html`<${Bar} value=${one.running} of=${one.concurrency} kind=${one.running >= one.concurrency ? "full" : ""} label=${`${one.name} in use`} />`}<span class="num">${one.running !== null ? `${count(one.running)} of ` : "at most "}${count(one.concurrency)}${one.name.endsWith("*") ? " each" : ""}</span></span>`) },
    { name: "rate", head: "Rate", cell: (one) => html`${rateText(one.rate) ?? html`<span class="quiet">any</span>`}${one.next_at && html`<span class="quiet">, the next <${Time} at=${one.next_at} /></span>`}` },
    ...(isAdmin() ? [{ name: "do", head: "", kind: "end", cell: (one) => html`<span class="row-do"><button class="small" onClick=${() => edit(one)} aria-label=${`Change the limit of ${one.name}`}><${Icon} name="edit" size=${13} />Change</button><button class="small" onClick=${() => drop(one)} aria-label=${`Remove the limit of ${one.name}`}><${Icon} name="trash" size=${13} />Remove</button></span>` }] : []),
  ]} />`}<//><//>`;
}

function Form({ one, close, then }) {
  const [error, fail] = useState(null);
  const id = useId("l");
  const send = async (event) => {
    event.preventDefault();
    const form = new FormData(event.target);
    const named = one.name ? one : { kind: form.get("kind"), name: form.get("name").trim() };
    try {
      await put(place(named), limitOf(form, one));
      say("Set.");
      then();
      close(true);
    } catch (problem) { fail(problem); }
  };
  return html`<form onSubmit=${send}><${Trouble} error=${error} />
    ${!one.name && html`<div class="form-row"><label for=${`${id}k`}>Of</label><select id=${`${id}k`} name="kind"><option value="handler">a handler</option><option value="key">a key</option></select></div>
      <div class="form-row"><label for=${`${id}n`}>Name</label><input id=${`${id}n`} name="name" required autocomplete="off" spellcheck="false" /><p class="hint">Of a key with a * at its end: each key with that beginning has this limit.</p></div>`}
    <${LimitFields} id=${id} one=${one} />
    <div class="dialog-actions"><button type="button" onClick=${() => close(false)}>Keep as it is</button><button class="primary">Set</button></div></form>`;
}
