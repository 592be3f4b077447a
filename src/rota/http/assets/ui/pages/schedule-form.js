// A schedule, made or changed. The slots that its rule means are shown while one types.
import { html, useEffect, useState, useId } from "../parts/view.js";
import { get, part, patch, post } from "../parts/api.js";
import { say, show } from "../parts/dialog.js";
import { Trouble } from "../parts/load.js";
import { zoneName } from "../parts/time.js";

/** Make one (`schedule` null), of `job` if that is given, or change one. */
export const change = (schedule, then, job = null) => show(schedule ? "Change the schedule" : "New schedule", (close) => html`<${Form} schedule=${schedule} job=${job ?? schedule?.job ?? null} close=${close} then=${then} />`, { wide: true });

const MISSED = { once: "fires once, however late", skip: "is left out", all: "all of them fire" };
const OVERLAP = { allow: "fires beside it", skip: "is left out", queue: "waits for its end", abort: "aborts it, then fires" };

export function Slots({ items }) {
  return html`<ol class="slots">${items.map((slot) => html`<li key=${slot.at} class=${slot.clock ? "odd" : ""}><span class="mono">${slot.local.replace("T", " ")}</span>${slot.clock && html` <span class="tag">clock: ${slot.clock}</span>`}</li>`)}</ol>`;
}

function Preview({ rule, timezone }) {
  const [state, set] = useState({ items: null, error: null });
  useEffect(() => {
    if (!rule.trim()) { set({ items: null, error: null }); return undefined; }
    const control = new AbortController();
    const timer = setTimeout(async () => {
      try {
        const { items } = await post("/v1/schedules/preview?n=5", { rule, timezone: timezone || null }, { signal: control.signal });
        set({ items, error: null });
      } catch (error) { if (error.name !== "AbortError") set({ items: null, error }); }
    }, 250);
    return () => { clearTimeout(timer); control.abort(); };
  }, [rule, timezone]);
  return html`<div class="hint" aria-live="polite">${state.error ? html`<span class="is-failed">${state.error.message}</span>` : state.items ? (state.items.length ? html`It fires at <${Slots} items=${state.items} />` : "It never fires.") : "Cron with five or six fields, every 15m, or at TIME."}</div>`;
}

function Form({ schedule, job, close, then }) {
  const [error, fail] = useState(null);
  const [rule, setRule] = useState(schedule?.rule ?? "0 9 * * MON-FRI");
  const [zone, setZone] = useState(() => schedule?.timezone ?? zoneName() ?? "UTC");
  const id = useId("f");
  const send = async (event) => {
    event.preventDefault();
    const form = new FormData(event.target);
    const body = { rule: rule.trim(), timezone: zone.trim() || undefined, missed: form.get("missed"), overlap: form.get("overlap"), jitter: form.get("jitter").trim() || 0 };
    if (form.get("name").trim()) body.name = form.get("name").trim();
    try {
      if (job) body.job = JSON.parse(form.get("job"));
      else {
        const data = form.get("data").trim();
        body.job = { handler: form.get("handler").trim(), queue: form.get("queue").trim() || undefined, ...(data ? { data: JSON.parse(data) } : {}) };
      }
    } catch (problem) {
      fail({ message: `the ${job ? "job" : "data"} is no JSON: ${problem.message}` });
      return;
    }
    try {
      const made = schedule ? await patch(`/v1/schedules/${part(schedule.id)}`, body) : await post("/v1/schedules", body);
      say(schedule ? "Changed." : `${made.name} is made.`);
      close(true);
      then?.(made);
    } catch (problem) { fail(problem); }
  };
  const choice = (name, label, options, value) => html`<div class="form-row"><label for=${`${id}${name}`}>${label}</label><select id=${`${id}${name}`} name=${name}>${Object.entries(options).map(([key, text]) => html`<option key=${key} value=${key} selected=${key === value}>${text}</option>`)}</select></div>`;
  return html`<form onSubmit=${send}><${Trouble} error=${error} />
    <div class="form-row"><label for=${`${id}rule`}>Rule</label><input id=${`${id}rule`} class="mono" required value=${rule} spellcheck="false" onInput=${(event) => setRule(event.target.value)} data-autofocus /><${Preview} rule=${rule} timezone=${zone} /></div>
    <div class="form-row"><label for=${`${id}zone`}>Time zone</label><input id=${`${id}zone`} value=${zone} spellcheck="false" onInput=${(event) => setZone(event.target.value)} /></div>
    <div class="form-row"><label for=${`${id}name`}>Name</label><input id=${`${id}name`} name="name" defaultValue=${schedule?.name ?? ""} placeholder=${schedule ? "" : "that of its handler"} required=${Boolean(job && !job.handler)} /></div>
    ${job ? html`<div class="form-row top-aligned"><label for=${`${id}job`}>Job</label><textarea id=${`${id}job`} name="job" rows="5" spellcheck="false" defaultValue=${JSON.stringify(job, null, 2)}></textarea></div>`
      : html`<div class="form-row"><label for=${`${id}handler`}>Handler</label><input id=${`${id}handler`} name="handler" required spellcheck="false" /></div>
        <div class="form-row top-aligned"><label for=${`${id}data`}>Data</label><textarea id=${`${id}data`} name="data" rows="3" spellcheck="false" placeholder='{"name": "Ana"}'></textarea></div>
        <div class="form-row"><label for=${`${id}queue`}>Queue</label><input id=${`${id}queue`} name="queue" placeholder="default" /></div>`}
    ${choice("missed", "A missed slot", MISSED, schedule?.missed ?? "once")}
    ${choice("overlap", "While one runs, the next", OVERLAP, schedule?.overlap ?? "allow")}
    <div class="form-row"><label for=${`${id}jitter`}>Jitter</label><input id=${`${id}jitter`} name="jitter" defaultValue=${schedule?.jitter || ""} placeholder="0; 30s" /></div>
    <div class="dialog-actions"><button type="button" onClick=${() => close(false)}>Keep as it is</button><button class="primary">${schedule ? "Change" : "Make"}</button></div></form>`;
}
