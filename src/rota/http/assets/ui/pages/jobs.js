// All jobs: found by filters that live in the address, chosen, and stopped or run again together.
import { html, useEffect, useMemo, useRef, useState, useId } from "../parts/view.js";
import { get, newKey, post } from "../parts/api.js";
import { useLoad, Loaded, Trouble } from "../parts/load.js";
import { Empty, Table } from "../parts/table.js";
import { Icon, State, STATES } from "../parts/icons.js";
import { Time, Took, compact } from "../parts/time.js";
import { canRetry, canStop, inputOf, jobPath, kindOf, nameOf, retry, stop } from "../parts/jobs.js";
import { href, useQuery } from "../parts/route.js";
import { say, show } from "../parts/dialog.js";
import { rowOf, useKeys } from "../parts/keys.js";
import { Command } from "../parts/json.js";
import { Progress } from "./overview.js";

const FIELDS = [
  { name: "handler", label: "Handler" },
  { name: "queue", label: "Queue" },
  { name: "owner", label: "Owner" },
  { name: "label", label: "Label", hint: "name=value" },
  { name: "error", label: "Error has", hint: "a text" },
  { name: "run", label: "Run", hint: "an id" },
];
const PAGE = 50;
const MOST_ASKED = 4;

function filtersOf(query) {
  return {
    state: query.getAll("state"), label: query.getAll("label"), owner: query.get("owner"), queue: query.get("queue"),
    handler: query.get("handler"), error: query.get("error"), run: query.get("run"), after_time: query.get("after_time"), before_time: query.get("before_time"),
  };
}

/** A page of them. The server looks at so many jobs a page and no more, whether they are meant or not: where none was, it is asked again. */
async function find(filters, cursor, signal) {
  let answer = null;
  for (let asked = 0; asked < MOST_ASKED && (answer === null || (answer.items.length === 0 && answer.next)); asked += 1) {
    answer = await get("/v1/jobs", { ...filters, limit: PAGE, cursor: answer?.next ?? cursor }, { signal });
  }
  return answer;
}

export default function Jobs() {
  const [query, change] = useQuery();
  const filters = filtersOf(query);
  const cursor = query.get("cursor");
  const [chosen, setChosen] = useState(new Set());
  const [every, all] = useState(false); // not only those on this page: all that the filters find
  const choose = (next) => { setChosen(next); all(false); };
  const text = query.toString();
  useEffect(() => choose(new Set()), [text]);
  const first = cursor === null;
  const of = useLoad(
    (signal) => find(filters, cursor, signal),
    [text],
    { concerns: (batch) => first || shown.current.some((job) => batch.jobs.has(job.id)), every: 5000 },
  );
  const shown = useRef([]);
  const jobs = of.data?.items ?? [];
  shown.current = jobs;
  const picked = jobs.filter((job) => chosen.has(job.id));
  const focused = () => jobs.find((job) => job.id === rowOf(document.activeElement)?.dataset.row);
  const bulk = (kind) => act(kind, every ? { filter: given(filters) } : { ids: picked.map((job) => job.id) }, every ? "all that are found" : `the ${picked.length} chosen`, () => { choose(new Set()); of.reload(); });
  useKeys({
    x: () => { const job = focused(); if (job) choose(flip(chosen, job.id)); },
    a: () => { const job = focused(); if (picked.length) bulk("stop"); else if (job && canStop(job)) stop(job, of.reload); },
    r: () => { const job = focused(); if (picked.length) bulk("retry"); else if (job && canRetry(job)) retry(job, of.reload); },
  });
  const filtered = [...query.keys()].some((name) => name !== "cursor");
  return html`<div class="page jobs">
    <div class="page-head"><h1>Jobs</h1><div class="head-end"><a class="button primary" href=${href("/submit")}><${Icon} name="submit" />Submit</a></div></div>
    <${Filters} filters=${filters} change=${change} />
    ${chosen.size > 0 && html`<div class="chosen-bar" role="toolbar" aria-label="What to do with the chosen jobs"><b>${every ? "All that are found" : `${picked.length} chosen`}</b>
      ${!every && picked.length === jobs.length && (of.data?.next || !first) && html`<button class="plain" onClick=${() => all(true)}>Choose all that are found</button>`}
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

/** The filters that are set, as the server takes them in a body. */
const given = (filters) => Object.fromEntries(Object.entries(filters).filter(([, value]) => value !== null && value.length > 0));

const flip = (set, key) => {
  const next = new Set(set);
  next.has(key) ? next.delete(key) : next.add(key);
  return next;
};

const columns = [
  { name: "name", head: "Job", kind: "title name", cell: (job) => html`<a class="strong" href=${href(jobPath(job.id))}>${nameOf(job)}</a><span class="with">${inputOf(job)}</span>${job.ref && html` <span class="tag" title="its name in its run">${job.ref}</span>`}${kindOf(job) !== "handler" && html` <span class="tag">${kindOf(job)}</span>`}${job.array && html` <span class="tag">array</span>`}` },
  { name: "state", head: "State", cell: (job) => html`<${State} of=${job.display_state} />` },
  { name: "what", head: "", kind: "wide what", cell: (job) => (job.state === "running" ? html`<${Progress} job=${job} />` : job.error ? html`<span class="is-failed clip" title=${job.error.message}>${job.error.type}: ${job.error.message}</span>` : job.display_state === "scheduled" ? html`<span class="quiet">due <${Time} at=${job.run_at} /></span>` : "") },
  { name: "owner", head: "Owner", kind: "brief", cell: (job) => job.owner },
  { name: "queue", head: "Queue", kind: "brief", cell: (job) => job.queue },
  { name: "attempt", head: "Tries", kind: "num", cell: (job) => job.attempt },
  { name: "took", head: "Took", kind: "num", cell: (job) => (job.started_at ? html`<${Took} from=${job.started_at} to=${job.finished_at} />` : html`<span class="quiet">–</span>`) },
  { name: "at", head: "Submitted", kind: "end", cell: (job) => html`<${Time} at=${job.submitted_at} />` },
];

function Filters({ filters, change }) {
  const { state: _, ...others } = filters;
  const counts = useLoad((signal) => get("/v1/jobs/count", others, { signal }), [JSON.stringify(others)], { concerns: () => true, every: 10_000 });
  const turn = (state) => change({ cursor: null, state: filters.state.includes(state) ? filters.state.filter((one) => one !== state) : [...filters.state, state] });
  const set = (name) => (event) => { const text = event.target.value.trim(); if (text !== (filters[name]?.toString() ?? "")) change({ cursor: null, [name]: text || null }); };
  const when = filters.after_time || filters.before_time;
  const [times, showTimes] = useState(Boolean(when));
  return html`<div class="filters">
    <div class="chips" role="group" aria-label="State">${STATES.map((state) => html`<button key=${state} class=${`chip is-${state}`} aria-pressed=${String(filters.state.includes(state))} onClick=${() => turn(state)}><${Icon} name=${state} size=${14} /><span>${state}</span>${counts.data && html`<span class="num">${compact(counts.data.states[state] ?? 0)}${counts.data.exact ? "" : "+"}</span>`}</button>`)}</div>
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
  stop: { title: "Abort or cancel", path: "/v1/jobs/abort", done: "stopped", danger: true },
  retry: { title: "Run again", path: "/v1/jobs/retry", done: "submitted again" },
  move: { title: "Move", path: "/v1/jobs/move", done: "moved" },
};

/** Ask the server what would be done to which of them, say so, and do it. `which` is `{ids}` or `{filter}`. */
async function act(kind, which, count, then) {
  const done = await show(`${KINDS[kind].title}?`, (close) => html`<${Summary} kind=${kind} which=${which} count=${count} close=${close} />`);
  if (done) then();
}

function Summary({ kind, which, count, close }) {
  const { title, path, done, danger } = KINDS[kind];
  const [error, fail] = useState(null);
  const [busy, setBusy] = useState(false);
  const key = useRef(newKey());
  const ids = [useId(), useId()];
  const trial = kind === "move" ? { priority: 0 } : {};
  const of = useLoad((signal) => post(path, { ...which, ...trial, dry_run: true }, { signal }));
  const send = async (event) => {
    event.preventDefault();
    const form = new FormData(event.target);
    const body = { ...which };
    if (form.get("queue")?.trim()) body.queue = form.get("queue").trim();
    if (form.get("priority")?.trim()) body.priority = Number(form.get("priority"));
    setBusy(true);
    let good = 0, bad = [], cursor = null;
    try {
      do {
        const answer = await post(path, cursor ? { ...body, cursor } : body, kind === "retry" ? { key: cursor ? `${key.current}-${cursor}` : key.current } : {});
        good += answer.done;
        bad = bad.concat(answer.failed);
        cursor = answer.next;
      } while (cursor);
    } catch (problem) {
      setBusy(false);
      fail(problem);
      return;
    }
    if (good) say(`${good} ${good === 1 ? "job" : "jobs"} ${done}.`);
    if (bad.length && !good) say(`None could be: ${bad[0].detail}`, { bad: true });
    close(true);
  };
  return html`<form onSubmit=${send}><${Trouble} error=${error} /><div class="dialog-text"><${Loaded} of=${of} lines=${2}>${(answer) => html`
    <p>${answer.done === 0 ? "None of them can be." : html`<b class="num">${answer.exact ? "" : "More than "}${answer.done}</b> of ${count}:`}</p>
    <ul class="tally">${Object.entries(answer.states).filter(([, n]) => n > 0).map(([state, n]) => html`<li key=${state}><${State} of=${state} /> <b class="num">${n}</b></li>`)}</ul>
    ${answer.failed.length > 0 && html`<p class="quiet">${answer.failed.length} are left as they are: ${answer.failed[0].detail}</p>`}`}<//></div>
    ${kind === "move" && html`<div class="form-row"><label for=${ids[0]}>To queue</label><input id=${ids[0]} name="queue" maxlength="200" placeholder="as it is" data-autofocus /></div>
    <div class="form-row"><label for=${ids[1]}>Priority</label><input id=${ids[1]} name="priority" type="number" placeholder="as it is" /></div>`}
    <div class="dialog-actions"><button type="button" onClick=${() => close(false)}>Keep as it is</button><button class=${danger ? "danger" : "primary"} disabled=${busy || !of.data?.done} data-autofocus=${kind === "move" ? null : ""}>${busy ? "…" : `${title}: ${of.data?.done ?? "…"}`}</button></div></form>`;
}
