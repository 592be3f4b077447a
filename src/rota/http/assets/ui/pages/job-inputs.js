// The inputs of an array: a map of all, those that failed first, and one of them with all that is known of it.
import { html, useState } from "../parts/view.js";
import { get, part } from "../parts/api.js";
import { useLoad, Loaded } from "../parts/load.js";
import { Panel, Table } from "../parts/table.js";
import { Icon, OVER, State } from "../parts/icons.js";
import { Time, Took, count, duration } from "../parts/time.js";
import { Json } from "../parts/json.js";
import { show } from "../parts/dialog.js";
import { go, useQuery } from "../parts/route.js";
import { JobLink, jobPath, retry } from "../parts/jobs.js";
import { InputMap } from "./job-map.js";

const PAGE = 50;

async function results(id, query, signal) {
  const answer = await get(`/v1/jobs/${part(id)}/results`, query, { signal, raw: true });
  return (await answer.text()).split("\n").filter(Boolean).map((line) => JSON.parse(line));
}

const brief = (value) => { const text = typeof value === "string" ? value : JSON.stringify(value); return text.length > 120 ? `${text.slice(0, 119)}…` : text; };

/** Where a cell of the map leads: to its input, or to those that lie there. */
export function openCell(job, change) {
  return (first, n) => (n === 1 ? openInput(job, first) : change({ tab: "inputs", at: first, many: n, after: null, show: null }));
}

export function Inputs({ job }) {
  const [query, change] = useQuery();
  const number = (name) => (query.get(name) === null ? null : Number(query.get(name)) || 0);
  const at = number("at"), many = number("many");
  const bad = at === null && (query.get("show") ?? (job.array.failed > 0 ? "failed" : "all")) === "failed";
  const after = number("after") ?? (at === null ? -1 : at - 1);
  const end = at === null ? Infinity : at + many;
  const of = useLoad((signal) => results(job.id, { after, limit: PAGE, state: bad ? "failed" : null }, signal).then((lines) => lines.filter((line) => line.index < end)), [job.id, bad, after, end], { concerns: (batch) => batch.jobs.has(job.id), every: OVER.has(job.state) ? null : 3000 });
  const choose = (which) => change({ show: which, at: null, many: null, after: null }, { replace: true });
  const again = OVER.has(job.state) && job.array.done - job.array.failed < job.array.inputs;
  const which = html`${at !== null && html`<button class="small" onClick=${() => choose(null)}><span class="num">${count(at)} – ${count(end - 1)}</span><${Icon} name="close" size=${13} /></button>`}<button class="small" aria-pressed=${String(bad)} onClick=${() => choose("failed")}>Failed</button><button class="small" aria-pressed=${String(!bad && at === null)} onClick=${() => choose("all")}>All that are over</button>`;
  return html`<${Panel} id="map" title="All inputs" aside=${html`<${Find} job=${job} />${again && html`<button class="small" onClick=${() => retry(job, (made) => go(jobPath(made.id)))}><${Icon} name="retry" size=${13} />Run ${job.array.failed ? "the failed" : "the others"} again</button>`}`}><${InputMap} job=${job} open=${openCell(job, change)} chosen=${at} /><//>
    <${Panel} id="inputs" title="What became of inputs" aside=${which}>
    <${Loaded} of=${of}>${(lines) => html`
      ${lines.length === 0 ? html`<p class="quiet pad">${bad ? "No input has failed." : at === null ? "No input is over yet." : "None of these is over."}</p>` : html`<${Table} label="Inputs" rows=${lines} rowKey=${(line) => String(line.index)} columns=${[
        { name: "index", head: "Number", kind: "num", cell: (line) => html`<button class="plain small num" aria-label=${`Input ${line.index}`} onClick=${() => openInput(job, line.index)}>${line.index}</button>` },
        { name: "input", head: "Input", kind: "title", cell: (line) => html`<span class="mono">${brief(line.input)}</span>` },
        { name: "state", head: "State", cell: (line) => html`<${State} of=${line.state} />` },
        { name: "what", head: "", kind: "wide", cell: (line) => html`<span class="mono clip quiet">${brief(line.error ? `${line.error.type}: ${line.error.message}` : line.result !== null ? line.result : line.stdout.trim())}</span>` },
        { name: "took", head: "Took", kind: "num", cell: (line) => duration(line.duration) },
      ]} />`}
      ${(query.get("after") !== null || lines.length === PAGE) && html`<div class="pager pad">${query.get("after") !== null && html`<button onClick=${() => change({ after: null })}>The first</button>`}${lines.length === PAGE && html`<button onClick=${() => change({ after: lines.at(-1).index })}>More</button>`}</div>`}`}<//><//>`;
}

/** Any input, by its number. */
function Find({ job }) {
  const open = (event) => {
    event.preventDefault();
    const text = new FormData(event.target).get("index").trim();
    if (text) openInput(job, Number(text));
  };
  return html`<form class="find-input" onSubmit=${open}><input name="index" type="number" min="0" max=${job.array.inputs - 1} placeholder=${`0 – ${job.array.inputs - 1}`} aria-label="Open the input with this number" /></form>`;
}

export const openInput = (job, index) => show(`Input ${index}`, (close) => html`<${One} job=${job} index=${index} close=${close} />`, { wide: true });

function One({ job, index, close }) {
  const [at, turn] = useState(index);
  const of = useLoad((signal) => get(`/v1/jobs/${part(job.id)}/inputs/${at}`, {}, { signal }), [job.id, at], { concerns: (batch) => batch.jobs.has(job.id), every: 3000 });
  return html`<div class="dialog-text one-input"><p class="one-steps"><button class="small" disabled=${at === 0} onClick=${() => turn(at - 1)} aria-label="The input before"><${Icon} name="left" size=${13} /></button><b class="num">${count(at)}</b><button class="small" disabled=${at >= job.array.inputs - 1} onClick=${() => turn(at + 1)} aria-label="The next input"><${Icon} name="right" size=${13} /></button></p>
  <${Loaded} of=${of} lines=${4}>${(one) => html`
  <p><${State} of=${one.state === "scheduled" && one.failures ? "retrying" : one.state} /> <span class="quiet">${[one.outcome?.replaceAll("_", " "), one.attempt !== null && `attempt ${one.attempt}`, one.duration !== null && duration(one.duration), one.exit_code !== null && `exit ${one.exit_code}`, one.failures > 0 && `${one.failures} failures before`].filter(Boolean).join(" · ")}${one.run_at && html` again <${Time} at=${one.run_at} />`}</span></p>
  ${one.stands_of && html`<p class="quiet">Its success stands, of <span onClick=${() => close()}><${JobLink} id=${one.stands_of} /></span>.</p>`}
  <h3>Input</h3><${Json} value=${one.input} label="Input" />
  ${one.error && html`<div class="error-text"><b>${one.error.type}</b><p>${one.error.message}</p>${one.error.traceback && html`<pre class="code-text" tabindex="0" role="group" aria-label="Traceback">${one.error.traceback}</pre>`}</div>`}
  ${one.result !== null && html`<h3>Result</h3><${Json} value=${one.result} label="Result" />`}
  ${one.stdout && html`<h3>Output</h3><pre class="command" tabindex="0">${one.stdout}</pre>`}
  ${one.stderr && html`<h3>Standard error</h3><pre class="command" tabindex="0">${one.stderr}</pre>`}
  ${one.attempts.length > 0 && html`<h3>Attempts that had it</h3><ul class="tries">${one.attempts.map((each) => html`<li key=${each.attempt}><span class="num">${each.attempt}</span> <span class="quiet">${each.outcome?.replaceAll("_", " ") ?? "running"} on</span> <span class="mono">${each.worker}</span> <span class="quiet">inputs ${count(each.first)} – ${count(each.first + each.inputs - 1)},</span> <${Took} from=${each.started_at} to=${each.finished_at} /></li>`)}</ul>`}`}<//></div>`;
}
