// Who runs jobs: how full each is, what it offers, and a way to let it go in peace.
import { html, useState } from "../parts/view.js";
import { get, part, post } from "../parts/api.js";
import { useLoad, Loaded } from "../parts/load.js";
import { Bar, Table } from "../parts/table.js";
import { Icon } from "../parts/icons.js";
import { Time } from "../parts/time.js";
import { confirm, say, show } from "../parts/dialog.js";
import { Command } from "../parts/json.js";

const slots = (one) => one.max_jobs ?? one.slots + one.async_slots;
const LOOK = { present: ["succeeded", "present"], draining: ["retrying", "draining"], gone: ["canceled", "gone"] };

export default function Workers() {
  const [all, showAll] = useState(false);
  const of = useLoad((signal) => get("/v1/workers", {}, { signal }).then((page) => page.items), [], { concerns: () => true, every: 3000 });
  const drain = (one) => confirm({
    title: "Drain this worker?", action: "Drain",
    text: html`<p><b>${one.name}</b> takes no more jobs, finishes the ${one.running} that it runs, and leaves.${one.owned ? " It belongs to this server, which starts another in its place." : ""}</p>`,
    work: async () => { await post(`/v1/workers/${part(one.id)}/drain`); say(`${one.name} drains.`); of.reload(); },
  });
  return html`<div class="page"><div class="page-head"><h1>Workers</h1>${of.data?.some((one) => one.state === "gone") && html`<label class="quiet"><input type="checkbox" checked=${all} onChange=${(event) => showAll(event.target.checked)} /> show those that are gone</label>`}</div>
    <${Loaded} of=${of}>${(items) => {
      const rows = items.filter((one) => all || one.state !== "gone");
      return rows.length === 0 ? html`<div class="empty"><h2>No worker is there</h2><p>Jobs wait until one comes:</p><${Command} text="rota worker --app MODULE:NAME" /></div>` : html`<${Table} label="Workers" rows=${rows} columns=${[
        { name: "name", head: "Worker", kind: "title", cell: (one) => html`<button class="plain strong link" onClick=${() => more(one)}>${one.name}</button>${one.owned && html` <span class="tag">this server's</span>`}` },
        { name: "state", head: "State", cell: (one) => html`<span class=${`state is-${LOOK[one.state][0]}`}><${Icon} name=${LOOK[one.state][0]} />${LOOK[one.state][1]}</span>` },
        { name: "slots", head: "Slots", kind: "wide", cell: (one) => html`<span class="progress"><${Bar} value=${one.running} of=${slots(one)} kind=${one.running >= slots(one) ? "full" : ""} label=${`Slots of ${one.name} in use`} /><span class="num">${one.running} of ${slots(one)}</span></span>` },
        { name: "offers", head: "Offers", cell: (one) => html`<span title=${one.handlers.map((handler) => handler.name).join(", ")}>${[one.handlers.length ? `${one.handlers.length} handlers` : null, one.scripts && "scripts", one.images && "images"].filter(Boolean).join(", ") || "–"}</span>` },
        { name: "queues", head: "Queues", cell: (one) => one.queues.join(", ") || html`<span class="quiet">all</span>` },
        { name: "host", head: "Host", cell: (one) => html`<span class="mono">${one.host ?? "–"}${one.pid ? `:${one.pid}` : ""}</span>` },
        { name: "seen", head: "Seen", kind: "num", cell: (one) => html`<${Time} at=${one.gone_at ?? one.seen_at} />` },
        { name: "do", head: "", kind: "end", cell: (one) => one.state === "present" && html`<button class="small" onClick=${() => drain(one)} aria-label=${`Drain ${one.name}`}><${Icon} name="out" size=${14} />Drain</button>` },
      ]} />`;
    }}<//></div>`;
}

const more = (one) => show(one.name, () => html`<dl class="facts"><dt>Id</dt><dd class="mono">${one.id}</dd><dt>Started</dt><dd><${Time} at=${one.started_at} absolute /></dd><dt>Heard of</dt><dd><${Time} at=${one.seen_at} /></dd>
  ${one.gone_at && html`<dt>Gone</dt><dd><${Time} at=${one.gone_at} absolute /> ${one.gone_why}</dd>`}<dt>Slots</dt><dd>${one.slots} for processes, ${one.async_slots} for async handlers${one.max_jobs ? `, ${one.max_jobs} together` : ""}</dd></dl>
  <h3>Handlers</h3><ul class="handlers">${one.handlers.map((handler) => html`<li key=${handler.name}><b>${handler.name}</b><span class="mono quiet">(${(handler.parameters ?? []).join(", ")})</span> <span class="tag">${handler.mode ?? "process"}</span>${handler.doc && html`<p class="quiet">${handler.doc}</p>`}</li>`)}</ul>`, { wide: true });
