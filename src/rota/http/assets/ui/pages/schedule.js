// One schedule: when it fires next, what became of its slots, how it was changed.
import { html } from "../parts/view.js";
import { get, part, post, remove } from "../parts/api.js";
import { useLoad, Loaded } from "../parts/load.js";
import { Panel, Table } from "../parts/table.js";
import { Icon, State } from "../parts/icons.js";
import { Time, duration, moment } from "../parts/time.js";
import { JobLink, jobPath, nameOf } from "../parts/jobs.js";
import { go, href } from "../parts/route.js";
import { attempt, confirm, say } from "../parts/dialog.js";
import { Copy, Json } from "../parts/json.js";
import { useKeys } from "../parts/keys.js";
import { Slots, change } from "./schedule-form.js";

const FATES = { submitted: "succeeded", waiting: "queued", skipped: "canceled", missed: "aborted", refused: "failed" };

export default function Schedule({ id }) {
  const path = `/v1/schedules/${part(id)}`;
  const of = useLoad((signal) => get(path, {}, { signal }), [id], { every: 5000 });
  const schedule = of.data;
  useKeys({ e: () => schedule && change(schedule, of.reload) });
  return html`<div class="page"><${Loaded} of=${of} lines=${8}>${(one) => html`
    <${Head} one=${one} path=${path} reload=${of.reload} />
    <div class="columns"><div><${Strip} path=${path} one=${one} /><${Firings} path=${path} one=${one} /><${History} path=${path} one=${one} /></div>
    <div><${Coming} path=${path} one=${one} /><${Facts} one=${one} /><${Panel} id="job" title="What it submits"><${Json} value=${one.job} label="Job" /><//></div></div>`}<//></div>`;
}

function Head({ one, path, reload }) {
  const run = () => attempt(async () => {
    const job = await post(`${path}/run`);
    say("Submitted.", { link: { href: href(jobPath(job.id)), text: "Open it" } });
  });
  const rest = () => attempt(() => post(`${path}/${one.paused_at ? "resume" : "pause"}`).then(reload), one.paused_at ? "It goes on." : "It is paused.");
  const gone = async () => {
    const done = await confirm({ title: "Remove this schedule?", text: html`<p><b>${one.name}</b> fires no more, and its history goes with it. Its jobs stay as they are.</p>`, action: "Remove", danger: true, work: () => remove(path) });
    if (done) go("/schedules");
  };
  return html`<div class="job-head"><div class="page-head"><h1>${one.name}</h1>${one.paused_at && html`<span class="state is-canceled"><${Icon} name="pause" />paused <${Time} at=${one.paused_at} /></span>`}</div>
    <div class="job-line"><span class="mono">${one.id}<${Copy} text=${one.id} what="the id" /></span><span>${one.owner}</span><span class="mono">${one.rule}</span><span>${one.timezone}</span>
    <span class="head-end"><button onClick=${run}><${Icon} name="play" />Run now</button><button onClick=${rest}><${Icon} name=${one.paused_at ? "play" : "pause"} />${one.paused_at ? "Resume" : "Pause"}</button>
    <button onClick=${() => change(one, reload)}><${Icon} name="edit" />Change</button><button onClick=${gone}><${Icon} name="trash" />Remove</button></span></div></div>`;
}

const firingsOf = (path, one) => useLoad((signal) => get(`${path}/firings`, { limit: 100 }, { signal }).then((page) => page.items), [one.id], { every: 5000, concerns: () => true });

/** Slots of the past as a line of marks, the newest on the right. */
function Strip({ path, one }) {
  const of = firingsOf(path, one);
  if (!of.data?.length) return null;
  return html`<${Panel} id="strip" title="The last slots"><div class="strip" role="img" aria-label=${`The last ${of.data.length} slots`}>${[...of.data].reverse().map((firing) => html`<i key=${firing.slot} class=${`is-${FATES[firing.fate]} fate-${firing.fate}`} title=${`${moment(Date.parse(firing.slot))}: ${firing.fate}${firing.why ? ` (${firing.why})` : ""}`}></i>`)}</div>
    <p class="legend">${Object.entries(FATES).map(([fate, state]) => html`<span key=${fate} class=${`is-${state}`}><i class=${`fate-${fate}`}></i><span class="quiet">${fate}</span></span>`)}</p><//>`;
}

function Firings({ path, one }) {
  const of = firingsOf(path, one);
  return html`<${Panel} id="firings" title="What became of slots"><${Loaded} of=${of}>${(items) => (items.length === 0 ? html`<p class="quiet pad">It has not fired yet.</p>` : html`<${Table} label="Firings" rows=${items.slice(0, 25)} rowKey=${(firing) => firing.slot} columns=${[
    { name: "slot", head: "Slot", kind: "title", cell: (firing) => html`<${Time} at=${firing.slot} absolute />${firing.manual && html` <span class="tag">by hand</span>`}` },
    { name: "fate", head: "Fate", cell: (firing) => html`<span class=${`state is-${FATES[firing.fate]}`}><${Icon} name=${FATES[firing.fate]} />${firing.fate}</span>` },
    { name: "late", head: "Late by", kind: "num", cell: (firing) => duration((Date.parse(firing.at) - Date.parse(firing.slot)) / 1000) },
    { name: "job", head: "Job", cell: (firing) => (firing.job ? html`<${JobLink} id=${firing.job} />` : html`<span class="quiet">–</span>`) },
    { name: "why", head: "", kind: "wide", cell: (firing) => firing.why && html`<span class="clip quiet" title=${firing.why}>${firing.why}</span>` },
  ]} />`)}<//><//>`;
}

function Coming({ path, one }) {
  const of = useLoad((signal) => get(`${path}/preview`, { n: 10 }, { signal }).then((page) => page.items), [one.id, one.revision, one.next_at]);
  return html`<${Panel} id="coming" title="Next slots" aside=${one.next_at && html`<${Time} at=${one.next_at} />`}><${Loaded} of=${of}>${(items) => html`<div class="pad">${items.length ? html`<${Slots} items=${items} />` : html`<span class="quiet">It has none any more.</span>`}</div>`}<//><//>`;
}

function Facts({ one }) {
  const facts = [["Missed slots", one.missed], ["Overlap", one.overlap], one.jitter > 0 && ["Jitter", duration(one.jitter)], one.starts_at && ["Starts", html`<${Time} at=${one.starts_at} absolute />`], one.ends_at && ["Ends", html`<${Time} at=${one.ends_at} absolute />`], one.waiting && ["A slot waits", html`<${Time} at=${one.waiting} />`], ["Made", html`<${Time} at=${one.created_at} />`], ["Changed", html`<${Time} at=${one.updated_at} />`]].filter(Boolean);
  return html`<${Panel} id="facts" title="Facts"><dl class="facts">${facts.map(([name, value]) => html`<dt key=${name}>${name}</dt><dd>${value}</dd>`)}</dl><//>`;
}

function History({ path, one }) {
  const of = useLoad((signal) => get(`${path}/history`, { limit: 50 }, { signal }).then((page) => page.items), [one.id, one.revision]);
  return html`<${Panel} id="history" title="How it was changed"><${Loaded} of=${of}>${(items) => html`<ul class="lines">${items.map((change) => html`<li key=${change.revision}><details><summary class="line"><span class="line-top"><b>${change.what}</b><span>${change.by ?? ""} <${Time} at=${change.at} absolute /></span></span></summary><${Json} value=${change.settings} label="Settings" /></details></li>`)}</ul>`}<//><//>`;
}
