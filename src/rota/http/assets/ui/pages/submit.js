// A job of one's own. The same, as a command and as a request, stands beside the form.
import { html, useEffect, useMemo, useState, useId, useRef } from "../parts/view.js";
import { get, may, me, newKey, post } from "../parts/api.js";
import { useLoad, Trouble } from "../parts/load.js";
import { Panel } from "../parts/table.js";
import { Icon, State } from "../parts/icons.js";
import { Reasons } from "../parts/reasons.js";
import { go, useQuery } from "../parts/route.js";
import { jobPath } from "../parts/jobs.js";
import { say } from "../parts/dialog.js";
import { Copy } from "../parts/json.js";
import { change as schedule } from "./schedule-form.js";
import { Arguments, fieldsOf, valueOf } from "./submit-arguments.js";

const KINDS = [["handler", "Handler"], ["script", "Script"], ["command", "Command"], ["image", "Image"]];
const quote = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`);

/** The handlers that workers offer, or have offered. */
function useHandlers() {
  const of = useLoad((signal) => get("/v1/handlers", {}, { signal }).then((page) => page.items));
  return of.data ?? [];
}

export default function Submit() {
  const [query] = useQuery();
  const handlers = useHandlers();
  const [kind, setKind] = useState(query.get("kind") ?? "handler");
  const [form, set] = useState({ handler: query.get("handler") ?? "", data: "", script: "#!/bin/bash\n", command: "", image: "", args: "", inputs: "", queue: "", priority: "", owner: "", delay: "", timeout: "", retries: "", labels: "", after: "", hook: "", needs: "", slots: "", limit_key: "", unique_key: "", on_conflict: "", values: {} });
  const [error, fail] = useState(null);
  const [busy, setBusy] = useState(false);
  const key = useRef(newKey());
  const handler = handlers.find((one) => one.name === form.handler);
  const fields = useMemo(() => fieldsOf(handler), [handler]);
  const kinds = KINDS.filter(([name]) => name === "handler" || may(name === "image" ? "images" : "scripts"));
  const change = (name) => (event) => set((old) => ({ ...old, [name]: event.target.value }));
  let body = null, wrong = null;
  try { body = bodyOf(kind, form, fields); } catch (problem) { wrong = problem; }
  const send = async (event) => {
    event.preventDefault();
    if (wrong) return fail(wrong);
    setBusy(true);
    try {
      const job = await post("/v1/jobs", body, { key: key.current });
      say("Submitted.");
      return go(jobPath(job.id));
    } catch (problem) {
      key.current = newKey();
      setBusy(false);
      return fail(problem);
    }
  };
  const [trial, setTrial] = useState(null);
  const tryIt = async () => {
    if (wrong) return fail(wrong);
    try {
      setTrial({ ...(await post("/v1/jobs?dry_run=true", body)).jobs[0], body: JSON.stringify(body) });
      return fail(null);
    } catch (problem) {
      setTrial(null);
      return fail(problem);
    }
  };
  const repeat = () => {
    if (wrong) return fail(wrong);
    const { run_at: _, delay: __, ...job } = body;
    return schedule(null, (made) => go(`/schedules/${encodeURIComponent(made.id)}`), job);
  };
  const field = error?.field;
  const input = (name, label, options = {}) => html`<${Field} name=${name} label=${label} value=${form[name]} change=${change(name)} wrong=${matches(field, name) ? error.message : null} ...${options} />`;
  const box = useRef(null);
  useEffect(() => { if (error) box.current.querySelector(".wrong, .trouble")?.scrollIntoView({ block: "center" }); }, [error]); // the buttons are far below
  return html`<div class="page submit"><div class="page-head"><h1>Submit a job</h1></div>
    <div class="columns"><form onSubmit=${send} ref=${box}>
      ${error && !FIELDS.some((name) => matches(field, name) && !(name === "data" && fields && field === "data")) && html`<${Trouble} error=${error} />`}
      <${Panel} id="what" title="What to run">
        <div class="form">
        <div class="tabs" role="tablist" aria-label="Kind">${kinds.map(([name, text]) => html`<button key=${name} type="button" role="tab" aria-selected=${String(kind === name)} onClick=${() => { setKind(name); fail(null); }}>${text}</button>`)}</div>
        ${kind === "handler" && html`
          ${input("handler", "Handler", { list: handlers.map((one) => one.name), required: true, hint: handler ? `${handler.doc}${handler.workers === 0 ? " (no live worker offers it)" : ""}` : null })}
          ${fields ? html`<${Arguments} fields=${fields} values=${form.values} wrong=${error} change=${(values) => set((old) => ({ ...old, values }))} />` : input("data", "Data", { area: 4, placeholder: '{"name": "Ana"}', hint: "JSON. An object gives the handler's keyword arguments, anything else its one positional argument." })}`}
        ${kind === "script" && input("script", "Script", { area: 10, required: true, hint: "Bash. Its standard output is the result." })}
        ${kind === "command" && input("command", "Command", { required: true, placeholder: "gzip -t {}", mono: true, hint: "A line for /bin/sh, run for each input: {} is the input." })}
        ${kind === "image" && html`${input("image", "Image", { required: true, placeholder: "alpine:3", mono: true })}${input("args", "Arguments", { mono: true, placeholder: '["echo", "hello"]', hint: "A list, as JSON." })}`}
        ${input("inputs", "Inputs", { area: 3, required: kind === "command", placeholder: "one a line", hint: kind === "command" ? "It runs once for each line." : "With inputs the job is an array: it runs once for each line." })}
        </div>
      <//>
      <${Panel} id="how" title="How to run it"><div class="form">
        ${input("queue", "Queue", { placeholder: "default" })}
        ${input("priority", "Priority", { type: "number", placeholder: "0", hint: "Higher goes first." })}
        ${input("delay", "Not before", { placeholder: "now; 30s, 2h, or a time" })}
        ${input("timeout", "Timeout", { placeholder: "none; 30s, 2h" })}
        ${input("retries", "Retries", { type: "number", placeholder: kind === "handler" ? "the handler's own" : "0", min: 0 })}
        ${input("labels", "Labels", { placeholder: "team=a, batch=7" })}
        ${input("after", "After", { placeholder: "ids of jobs that must succeed first", mono: true, hint: "Or on another end: ID:failed, ID:finished, ID:any." })}
        ${input("needs", "Needs", { placeholder: "gpu=true, zone=a", hint: "Labels that its worker must have." })}
        ${input("slots", "Slots", { type: "number", min: 1, placeholder: kind === "handler" ? "the handler's own, or 1" : "1", hint: "How many of its worker's slots it takes." })}
        ${!form.inputs.trim() && input("limit_key", "Limit key", { placeholder: kind === "handler" ? "the handler's own; customer-{customer}" : "none", mono: true, hint: "Jobs that share it can be limited together; {name} is filled from the data." })}
        ${input("unique_key", "Unique key", { placeholder: "none", mono: true, hint: form.unique_key ? null : "While a job with this key is not over, its owner has no other one." })}
        ${form.unique_key && input("on_conflict", "If it is taken", { choices: [["", "refuse this one"], ["existing", "take the other for it"], ["replace", "cancel the other, if it waits"]] })}
        ${input("hook", "Hook", { type: "url", placeholder: "https://…", hint: "Called when the job ends." })}
        ${me.get().owner === null && input("owner", "Owner", { placeholder: "default" })}
      </div><//>
      <div class="submit-line"><button class="primary" disabled=${busy}><${Icon} name="play" size=${14} />Submit</button><button type="button" onClick=${tryIt}>Dry run</button>${!body?.inputs && html`<button type="button" onClick=${repeat}><${Icon} name="schedules" size=${14} />Again and again</button>`}${wrong && html`<span class="is-failed">${wrong.message}</span>`}</div>
    </form><div>${trial && trial.body === JSON.stringify(body) && html`<${Panel} id="trial" title="What it would do" aside="nothing was submitted"><p class="pad" role="status"><${State} of=${trial.state} /> <span class="quiet">${trial.runnable ? "a live worker could run it" : "no live worker could run it now"}</span></p><${Reasons} reasons=${trial.reasons} /><//>`}<${Same} body=${body} /></div></div></div>`;
}

const FIELDS = ["handler", "data", "script", "command", "image", "args", "inputs", "queue", "priority", "owner", "delay", "timeout", "retries", "labels", "after", "hook", "needs", "slots", "limit_key", "unique_key", "on_conflict"];
const matches = (field, name) => Boolean(field) && (field === name || field.startsWith(`${name}.`) || field.startsWith(`${name}[`) || (name === "delay" && field === "run_at"));

function Field({ name, label, value, change, wrong, hint, area, list, mono, choices, ...rest }) {
  const id = useId(name);
  const about = wrong || hint ? `${id}-hint` : null;
  const shared = { id, name, value, onInput: change, "aria-describedby": about, "aria-invalid": wrong ? "true" : null, spellcheck: false, ...rest };
  return html`<div class=${`form-row${area ? " top-aligned" : ""}`}><label for=${id}>${label}</label>
    ${choices ? html`<select ...${shared}>${choices.map(([each, text]) => html`<option key=${each} value=${each}>${text}</option>`)}</select>` : area ? html`<textarea rows=${area} ...${shared}></textarea>` : html`<input class=${mono ? "mono" : ""} autocomplete="off" list=${list ? `${id}-list` : null} ...${shared} />`}
    ${list && html`<datalist id=${`${id}-list`}>${list.map((each) => html`<option key=${each} value=${each} />`)}</datalist>`}
    ${wrong ? html`<p class="wrong" id=${about}>${wrong}</p>` : hint && html`<p class="hint" id=${about}>${hint}</p>`}</div>`;
}

const json = (text, what) => { try { return JSON.parse(text); } catch (error) { throw new Error(`${what} is no JSON: ${error.message}`); } };

/** A label's value: yes or no, a number, or a text. Without one it is yes. */
const plainly = (text) => (text === "" || text === "true" ? true : text === "false" ? false : /^-?\d+(\.\d+)?$/.test(text) ? Number(text) : text);

/** `name=value`, the value read by `read`. */
const pair = (text, read = (value) => value) => { const [name, ...value] = text.split("="); return [name.trim(), read(value.join("=").trim())]; };

function bodyOf(kind, form, fields) {
  const body = {};
  const text = (name) => form[name].trim();
  if (kind === "handler") {
    body.handler = text("handler");
    if (fields) {
      const data = valueOf(fields, form.values);
      if (Object.keys(data).length) body.data = data;
    } else if (text("data")) body.data = json(text("data"), "data");
  } else body[kind] = kind === "script" ? form.script : text(kind);
  if (kind === "image" && text("args")) body.args = json(text("args"), "arguments");
  if (text("inputs")) body.inputs = text("inputs").split("\n").map((line) => line.trim()).filter(Boolean);
  for (const name of ["queue", "owner", "timeout", "hook"]) if (text(name)) body[name] = text(name);
  for (const name of ["priority", "retries", "slots"]) if (text(String(name))) body[name] = Number(text(name));
  if (text("delay")) body[/^\d{4}-/.test(text("delay")) ? "run_at" : "delay"] = text("delay");
  if (text("labels")) body.labels = Object.fromEntries(text("labels").split(",").map((each) => pair(each)));
  if (text("after")) body.after = text("after").split(/[\s,]+/).filter(Boolean).map((each) => { const [job, on] = each.split(":"); return on ? { job, on } : job; });
  if (text("needs")) body.needs = Object.fromEntries(text("needs").split(",").filter((each) => each.trim()).map((each) => pair(each, plainly)));
  if (text("limit_key") && !text("inputs")) body.limit_key = text("limit_key");
  if (text("unique_key")) body.unique_key = text("unique_key");
  if (text("unique_key") && form.on_conflict) body.on_conflict = form.on_conflict;
  return body;
}

function Same({ body }) {
  if (!body) return null;
  const request = `curl ${location.origin}/v1/jobs --json ${quote(JSON.stringify(body))}`;
  const python = `client.submit(${JSON.stringify(body.handler ?? "…")}${body.data !== undefined ? `, ${JSON.stringify(body.data).replaceAll("true", "True").replaceAll("false", "False").replaceAll("null", "None")}` : ""})`;
  return html`<${Panel} id="same" title="The same over HTTP" aside=${html`<${Copy} text=${request} what="the request" />`}><pre class="code-text wrap" tabindex="0" role="group" aria-label="The request">${`curl ${location.origin}/v1/jobs --json '${JSON.stringify(body, null, 2)}'`}</pre><//>
    ${body.handler && !body.inputs && html`<${Panel} id="python" title="The same in Python" aside=${html`<${Copy} text=${python} what="the call" />`}><pre class="code-text wrap" tabindex="0" role="group" aria-label="The call">${python}</pre><//>`}`;
}
