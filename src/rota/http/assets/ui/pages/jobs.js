// All jobs: found by filters that live in the address, chosen, and stopped or run again together.
import { html, useEffect, useMemo, useRef, useState, useId } from "../parts/view.js";
import { get, isAdmin, part, patch, post } from "../parts/api.js";
import { useLoad, Loaded, Trouble } from "../parts/load.js";
import { Empty, Table } from "../parts/table.js";
import { Icon, State, STATES } from "../parts/icons.js";
import { Time, Took, compact } from "../parts/time.js";
import { canEdit, canRetry, canStop, inputOf, jobPath, kindOf, nameOf, retry, stop } from "../parts/jobs.js";
import { href, useQuery } from "../parts/route.js";
import { confirm, say, show } from "../parts/dialog.js";
import { rowOf, useKeys } from "../parts/keys.js";
import { Command } from "../parts/json.js";
import { Progress } from "./overview.js";

const FIELDS = [
  { name: "handler", label: "Handler" },
  { name: "queue", label: "Queue" },
  { name: "owner", label: "Owner" },
  { name: "label", label: "Label", hint: "name=value" },
];
const PAGE = 50;

function filtersOf(query) {
  return {
    state: query.getAll("state"), label: query.getAll("label"), owner: query.get("owner"), queue: query.get("queue"),
    handler: query.get("handler"), after_time: query.get("after_time"), before_time: query.get("before_time"),
  };
}

export default function Jobs() {
  const [query, change] = useQuery();
  const filters = filtersOf(query);
  const cursor = query.get("cursor");
  const [chosen, choose] = useState(new Set());
  const text = query.toString();
  useEffect(() => choose(new Set()), [text]);
  const first = cursor === null;
  const of = useLoad(
    (signal) => get("/v1/jobs", { ...filters, limit: PAGE, cursor }, { signal }),
    [text],
    { concerns: (batch) => first || shown.current.some((job) => batch.jobs.has(job.id)), every: 5000 },
  );
  const shown = useRef([]);
  const jobs = of.data?.items ?? [];
  shown.current = jobs;
  const picked = jobs.filter((job) => chosen.has(job.id));
  const focused = () => jobs.find((job) => job.id === rowOf(document.activeElement)?.dataset.row);
  const bulk = (kind) => act(kind, picked, () => { choose(new Set()); of.reload(); });
  useKeys({
    x: () => { const job = focused(); if (job) choose(flip(chosen, job.id)); },
    a: () => { const job = focused(); if (picked.length) bulk("stop"); else if (job && canStop(job)) stop(job, of.reload); },
    r: () => { const job = focused(); if (picked.length) bulk("retry"); else if (job && canRetry(job)) retry(job, of.reload); },
  });
  const filtered = [...query.keys()].some((name) => name !== "cursor");
  return html`<div class="page jobs">
    <div class="page-head"><h1>Jobs</h1><div class="head-end"><a class="button primary" href=${href("/submit")}><${Icon} name="submit" />Submit</a></div></div>
    <${Filters} filters=${filters} change=${change} />
    ${chosen.size > 0 && html`<div class="chosen-bar" role="toolbar" aria-label="What to do with the chosen jobs"><b>${picked.length} chosen</b>
      <button onClick=${() => bulk("stop")}><${Icon} name="stop" />Abort or cancel</button>
      <button onClick=${() => bulk("retry")}><${Icon} name="retry" />Run again</button>
      <button onClick=${() => bulk("move")}><${Icon} name="queues" />Move</button>
      <button class="plain" onClick=${() => choose(new Set())}>Choose none</button></div>`}
    <${Loaded} of=${of} lines=${10}>${({ items, next }) => html`
      ${items.length === 0 ? (filtered || !first ? html`<${Empty} title=${next ? "None on this page" : "No job is like this"}>${next ? "There may be more on the next one." : html`<button class="small" onClick=${() => change(Object.fromEntries([...query.keys()].map((name) => [name, null])))}>Show all jobs</button>`}<//>` : html`<div class="empty"><h2>No job yet</h2><p>Submit the first one from a terminal, or with <a href=${href("/submit")}>a form</a>:</p><${Command} text=${"rota submit HANDLER --data '{\"name\": \"Ana\"}'"} /></div>`)
        : html`<${Table} label="Jobs" rows=${items} chosen=${chosen} choose=${choose} link=${(job) => jobPath(job.id)} columns=${columns} />`}
      <div class="pager">
        ${!first && html`<button onClick=${() => history.back()}><${Icon} name="left" />Back</button><button class="plain" onClick=${() => change({ cursor: null })}>The newest</button>`}
        <span class="quiet">${items.length > 0 ? `${items.length} jobs, the newest first` : ""}</span>
        ${next && html`<button onClick=${() => change({ cursor: next })}>Older<${Icon} name="right" /></button>`}
      </div>`}<//>
  </div>`;
}

const flip = (set, key) => {
  const next = new Set(set);
  next.has(key) ? next.delete(key) : next.add(key);
  return next;
};

const columns = [
  { name: "name", head: "Job", kind: "title name", cell: (job) => html`<a class="strong" href=${href(jobPath(job.id))}>${nameOf(job)}</a><span class="with">${inputOf(job)}</span>${kindOf(job) !== "handler" && html` <span class="tag">${kindOf(job)}</span>`}${job.array && html` <span class="tag">array</span>`}` },
  { name: "state", head: "State", cell: (job) => html`<${State} of=${job.display_state} />` },
  { name: "what", head: "", kind: "wide what", cell: (job) => (job.state === "running" ? html`<${Progress} job=${job} />` : job.error ? html`<span class="is-failed clip" title=${job.error.message}>${job.error.type}: ${job.error.message}</span>` : job.display_state === "scheduled" ? html`<span class="quiet">due <${Time} at=${job.run_at} /></span>` : "") },
  { name: "owner", head: "Owner", cell: (job) => job.owner },
  { name: "queue", head: "Queue", cell: (job) => job.queue },
  { name: "attempt", head: "Tries", kind: "num", cell: (job) => job.attempt },
  { name: "took", head: "Took", kind: "num", cell: (job) => (job.started_at ? html`<${Took} from=${job.started_at} to=${job.finished_at} />` : html`<span class="quiet">–</span>`) },
  { name: "at", head: "Submitted", kind: "end", cell: (job) => html`<${Time} at=${job.submitted_at} />` },
];

function Filters({ filters, change }) {
  const counts = useLoad((signal) => get("/v1/stats", {}, { signal }), [], { concerns: () => true, every: 10_000, skip: !isAdmin() });
  const alone = FIELDS.every(({ name }) => !filters[name]?.length) && !filters.after_time && !filters.before_time;
  const turn = (state) => change({ cursor: null, state: filters.state.includes(state) ? filters.state.filter((one) => one !== state) : [...filters.state, state] });
  const set = (name) => (event) => { const text = event.target.value.trim(); if (text !== (filters[name]?.toString() ?? "")) change({ cursor: null, [name]: text || null }); };
  const when = filters.after_time || filters.before_time;
  const [times, showTimes] = useState(Boolean(when));
  return html`<div class="filters">
    <div class="chips" role="group" aria-label="State">${STATES.map((state) => html`<button key=${state} class=${`chip is-${state}`} aria-pressed=${String(filters.state.includes(state))} onClick=${() => turn(state)}><${Icon} name=${state} size=${14} /><span>${state}</span>${counts.data && alone && html`<span class="num">${compact(counts.data.jobs[state] ?? 0)}</span>`}</button>`)}</div>
    <div class="fields">
      ${FIELDS.map(({ name, label, hint }, at) => html`<label key=${`${name} ${filters[name] ?? ""}`} class="field"><span>${label}</span><input data-search=${at === 0 ? "" : null} type="search" autocomplete="off" spellcheck="false" placeholder=${hint ?? "any"} defaultValue=${filters[name]?.toString() ?? ""} onChange=${set(name)} /></label>`)}
      ${times ? html`<label class="field"><span>From</span><input type="datetime-local" key=${filters.after_time} defaultValue=${local(filters.after_time)} onChange=${(event) => change({ cursor: null, after_time: utc(event.target.value) })} /></label>
        <label class="field"><span>Before</span><input type="datetime-local" key=${filters.before_time} defaultValue=${local(filters.before_time)} onChange=${(event) => change({ cursor: null, before_time: utc(event.target.value) })} /></label>`
        : html`<button class="plain small" onClick=${() => showTimes(true)}><${Icon} name="schedules" size=${14} />Time</button>`}
    </div>
  </div>`;
}

const local = (iso) => {
  if (!iso) return "";
  const at = new Date(iso);
  return Number.isNaN(at.getTime()) ? "" : new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
};
const utc = (text) => (text ? new Date(text).toISOString() : null);

const KINDS = {
  stop: { title: "Abort or cancel", can: canStop, each: (job) => post(`/v1/jobs/${part(job.id)}/abort`, {}), done: "stopped", danger: true },
  retry: { title: "Run again", can: canRetry, each: (job) => post(`/v1/jobs/${part(job.id)}/retry`, {}), done: "submitted again" },
  move: { title: "Move", can: canEdit, done: "moved" },
};

/** Say what is about to be done to how many jobs of which state; then do it, a few at once. */
async function act(kind, jobs, then) {
  const { title, can, done, danger } = KINDS[kind];
  let { each } = KINDS[kind];
  const able = jobs.filter(can);
  const tally = Object.entries(Object.groupBy(able, (job) => job.display_state));
  const summary = html`<p>${able.length === 0 ? "None of them can be." : html`${able.length} of the ${jobs.length} chosen jobs:`}</p>
    <ul class="tally">${tally.map(([state, group]) => html`<li key=${state}><${State} of=${state} /> <b class="num">${group.length}</b></li>`)}</ul>
    ${able.length < jobs.length && html`<p class="quiet">${jobs.length - able.length} are left as they are: ${kind === "retry" ? "they are not over" : kind === "stop" ? "they are over" : "they have started"}.</p>`}`;
  if (kind === "move") {
    const queue = await show("Move jobs", (close) => html`<${Move} summary=${summary} able=${able.length} close=${close} />`);
    if (!queue) return;
    each = (job) => patch(`/v1/jobs/${part(job.id)}`, queue);
    await all(able, each, done);
    then();
    return;
  }
  await confirm({ title: `${title}?`, text: summary, action: able.length ? `${title}: ${able.length}` : "Close", danger, work: () => (able.length ? all(able, each, done) : null) });
  then();
}

async function all(jobs, each, done) {
  const left = [...jobs];
  let good = 0;
  const bad = [];
  const one = async () => {
    for (let job = left.shift(); job; job = left.shift()) {
      try { await each(job); good += 1; } catch (problem) { bad.push(problem); }
    }
  };
  await Promise.all(Array.from({ length: 4 }, one));
  if (good) say(`${good} ${good === 1 ? "job" : "jobs"} ${done}.`);
  if (bad.length) say(`${bad.length} could not be: ${bad[0].message}`, { bad: true });
}

function Move({ summary, able, close }) {
  const ids = [useId(), useId()];
  const send = (event) => {
    event.preventDefault();
    const form = new FormData(event.target);
    const edit = {};
    if (form.get("queue").trim()) edit.queue = form.get("queue").trim();
    if (form.get("priority").trim()) edit.priority = Number(form.get("priority"));
    close(Object.keys(edit).length ? edit : undefined);
  };
  return html`<form onSubmit=${send}><div class="dialog-text">${summary}</div>
    <div class="form-row"><label for=${ids[0]}>To queue</label><input id=${ids[0]} name="queue" maxlength="200" placeholder="as it is" /></div>
    <div class="form-row"><label for=${ids[1]}>Priority</label><input id=${ids[1]} name="priority" type="number" placeholder="as it is" /></div>
    <div class="dialog-actions"><button type="button" onClick=${() => close()}>Keep as it is</button><button class="primary" disabled=${able === 0}>Move ${able}</button></div></form>`;
}
