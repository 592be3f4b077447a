// Owners: which share each gets and uses, and what it may have at most.
import { html, useState, useId } from "../parts/view.js";
import { get, isAdmin, part, patch } from "../parts/api.js";
import { useLoad, Loaded, Trouble } from "../parts/load.js";
import { Table } from "../parts/table.js";
import { Icon } from "../parts/icons.js";
import { count } from "../parts/time.js";
import { href, useQuery } from "../parts/route.js";
import { say, show } from "../parts/dialog.js";

const PAGE = 50;
const percent = (part) => `${(100 * part).toFixed(part < 0.0995 ? 1 : 0)} %`;
const find = (name) => `/jobs?owner=${encodeURIComponent(name)}`;
const LIMITS = [["max_priority", "Highest priority"], ["max_waiting", "Most jobs that wait"], ["max_running", "Most jobs that run"], ["max_bytes", "Most bytes of jobs"]];
const used = (one, name) => {
  const now = one.use && one.use[name.slice("max_".length)];
  return now === null || now === undefined ? "" : ` (${count(now)} in use)`;
};

/** A part of all as a bar, with a mark where it would be by weight. */
function Share({ used, share, owner }) {
  return html`<span class="share" role="img" aria-label=${`${owner} uses ${percent(used)}, its share is ${percent(share)}`}><i style=${{ width: `${Math.min(100, 100 * used)}%` }}></i><b style=${{ left: `${Math.min(100, 100 * share)}%` }}></b></span>`;
}

export default function Owners() {
  const [query, turn] = useQuery();
  const cursor = query.get("cursor");
  const of = useLoad(async (signal) => {
    const { items, next } = await get("/v1/owners", { limit: PAGE, cursor }, { signal });
    const shares = await Promise.all(items.map((one) => get(`/v1/owners/${part(one.owner)}/share`, {}, { signal })));
    return { items: shares, next };
  }, [cursor], { every: 5000 });
  const edit = (one) => show(`Owner ${one.owner}`, (close) => html`<${Form} one=${one} close=${close} then=${of.reload} />`);
  return html`<div class="page"><div class="page-head"><h1>Owners</h1></div>
    <${Loaded} of=${of}>${({ items, next }) => html`${items.length === 0 ? html`<div class="empty"><h2>No owner has a job yet</h2><p>A job has the owner that its submitter names, or its token is bound to.</p></div>` : html`<${Table} label="Owners" rows=${items} rowKey=${(one) => one.owner} link=${(one) => find(one.owner)} columns=${[
      { name: "owner", head: "Owner", kind: "title", cell: (one) => html`<a class="strong" href=${href(find(one.owner))}>${one.owner}</a>` },
      { name: "weight", head: "Weight", kind: "num", cell: (one) => one.weight },
      { name: "share", head: "Share", kind: "num", cell: (one) => (one.waiting + one.running ? percent(one.share) : html`<span class="quiet">–</span>`) },
      { name: "used", head: "Used in the last hour", kind: "wide", cell: (one) => html`<span class="progress"><${Share} ...${one} /><span class="num">${percent(one.used)}</span></span>` },
      { name: "running", head: "Running", kind: "num", cell: (one) => count(one.running) },
      { name: "ready", head: "Ready", kind: "num", cell: (one) => count(one.waiting) },
      { name: "limits", head: "Limits", cell: (one) => LIMITS.filter(([name]) => one[name] !== null).map(([name, text]) => `${text.toLowerCase()} ${count(one[name])}${used(one, name)}`).join(", ") || html`<span class="quiet">none</span>` },
      ...(isAdmin() ? [{ name: "do", head: "", kind: "end", cell: (one) => html`<button class="small" onClick=${() => edit(one)} aria-label=${`Change ${one.owner}`}><${Icon} name="edit" size=${13} />Change</button>` }] : []),
    ]} />`}<div class="pager">${cursor && html`<button onClick=${() => history.back()}><${Icon} name="left" />Back</button>`}<span></span>${next && html`<button onClick=${() => turn({ cursor: next })}>More<${Icon} name="right" /></button>`}</div>`}<//></div>`;
}

function Form({ one, close, then }) {
  const [error, fail] = useState(null);
  const id = useId("o");
  const send = async (event) => {
    event.preventDefault();
    const form = new FormData(event.target);
    const body = { weight: Number(form.get("weight")) };
    for (const [name] of LIMITS) {
      const value = form.get(name).trim() ? Number(form.get(name)) : null;
      if (value !== one[name]) body[name] = value;
    }
    try {
      await patch(`/v1/owners/${part(one.owner)}`, body);
      say("Set.");
      then();
      close(true);
    } catch (problem) { fail(problem); }
  };
  return html`<form onSubmit=${send}><${Trouble} error=${error} />
    <div class="form-row"><label for=${`${id}w`}>Weight</label><input id=${`${id}w`} name="weight" type="number" step="any" min="0.001" max="1000" required defaultValue=${one.weight} data-autofocus /><p class="hint">Its share beside others of the same priority.</p></div>
    ${LIMITS.map(([name, text]) => html`<div class="form-row" key=${name}><label for=${id + name}>${text}</label><input id=${id + name} name=${name} type="number" defaultValue=${one[name] ?? ""} placeholder="no limit" /></div>`)}
    <div class="dialog-actions"><button type="button" onClick=${() => close(false)}>Keep as it is</button><button class="primary">Set</button></div></form>`;
}
