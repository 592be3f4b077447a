// The inputs of an array: those that failed first, and the output of one.
import { html, useState } from "../parts/view.js";
import { get, part } from "../parts/api.js";
import { useLoad, Loaded } from "../parts/load.js";
import { Panel, Table } from "../parts/table.js";
import { OVER, State } from "../parts/icons.js";
import { duration } from "../parts/time.js";
import { Json } from "../parts/json.js";
import { show } from "../parts/dialog.js";

const PAGE = 50;

async function results(id, query, signal) {
  const answer = await get(`/v1/jobs/${part(id)}/results`, query, { signal, raw: true });
  return (await answer.text()).split("\n").filter(Boolean).map((line) => JSON.parse(line));
}

const brief = (value) => { const text = typeof value === "string" ? value : JSON.stringify(value); return text.length > 120 ? `${text.slice(0, 119)}…` : text; };

export function Inputs({ job }) {
  const [bad, only] = useState(job.array.failed > 0);
  const [after, set] = useState(-1);
  const of = useLoad((signal) => results(job.id, { after, limit: PAGE, state: bad ? "failed" : null }, signal), [job.id, bad, after], { concerns: (batch) => batch.jobs.has(job.id), every: OVER.has(job.state) ? null : 3000 });
  const choose = (failed) => { only(failed); set(-1); };
  return html`<${Panel} id="inputs" title="What became of inputs" aside=${html`<button class="small" aria-pressed=${String(bad)} onClick=${() => choose(true)}>Failed</button><button class="small" aria-pressed=${String(!bad)} onClick=${() => choose(false)}>All</button>`}>
    <${Loaded} of=${of}>${(lines) => html`
      ${lines.length === 0 ? html`<p class="quiet pad">${bad ? "No input has failed." : "No input is over yet."}</p>` : html`<${Table} label="Inputs" rows=${lines} rowKey=${(line) => String(line.index)} columns=${[
        { name: "index", head: "Number", kind: "num", cell: (line) => html`<button class="plain small num" aria-label=${`Input ${line.index}`} onClick=${() => open(line)}>${line.index}</button>` },
        { name: "input", head: "Input", kind: "title", cell: (line) => html`<span class="mono">${brief(line.input)}</span>` },
        { name: "state", head: "State", cell: (line) => html`<${State} of=${line.state} />` },
        { name: "what", head: "", kind: "wide", cell: (line) => html`<span class="mono clip quiet">${brief(line.error ? `${line.error.type}: ${line.error.message}` : line.result !== null ? line.result : line.stdout.trim())}</span>` },
        { name: "took", head: "Took", kind: "num", cell: (line) => duration(line.duration) },
      ]} />`}
      ${(after >= 0 || lines.length === PAGE) && html`<div class="pager pad">${after >= 0 && html`<button onClick=${() => set(-1)}>The first</button>`}${lines.length === PAGE && html`<button onClick=${() => set(lines.at(-1).index)}>More</button>`}</div>`}`}<//><//>`;
}

const open = (line) => show(`Input ${line.index}`, () => html`<div class="dialog-text"><p><${State} of=${line.state} /> <span class="quiet">${line.outcome} · attempt ${line.attempt} · ${duration(line.duration)}${line.exit_code !== null ? ` · exit ${line.exit_code}` : ""}</span></p>
  <h3>Input</h3><${Json} value=${line.input} label="Input" />
  ${line.error && html`<div class="error-text"><b>${line.error.type}</b><p>${line.error.message}</p>${line.error.traceback && html`<pre class="code-text" tabindex="0">${line.error.traceback}</pre>`}</div>`}
  ${line.result !== null && html`<h3>Result</h3><${Json} value=${line.result} label="Result" />`}
  ${line.stdout && html`<h3>Output</h3><pre class="command">${line.stdout}</pre>`}
  ${line.stderr && html`<h3>Standard error</h3><pre class="command">${line.stderr}</pre>`}</div>`, { wide: true });
