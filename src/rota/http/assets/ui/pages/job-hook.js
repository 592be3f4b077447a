// The calls of a job's hook, with every try.
import { html } from "../parts/view.js";
import { get, part, post } from "../parts/api.js";
import { attempt } from "../parts/dialog.js";
import { Icon } from "../parts/icons.js";
import { useLoad, Loaded } from "../parts/load.js";
import { Panel } from "../parts/table.js";
import { Json } from "../parts/json.js";
import { Time, duration } from "../parts/time.js";

const parsed = (text) => { try { return JSON.parse(text); } catch { return text; } };

export function Deliveries({ job, path }) {
  const of = useLoad((signal) => get(`${path}/deliveries`, {}, { signal }).then((page) => page.items), [job.id, job.state], { every: 5000 });
  const again = (call) => attempt(() => post(`${path}/deliveries/${part(call.id)}/resend`).then(of.reload), "It is called again.");
  return html`<${Loaded} of=${of}>${(calls) => (calls.length === 0 ? html`<div class="empty"><h2>Not called yet</h2><p><code>${job.hook}</code> is called when the job ends.</p></div>` : calls.map((call) => html`<${Panel} key=${call.id} id=${`call-${call.id}`} title=${call.url} aside=${html`<span class=${call.done_at ? (call.gave_up ? "is-failed" : "is-succeeded") : "is-retrying"}>${call.done_at ? (call.gave_up ? "given up" : "taken") : html`next try <${Time} at=${call.next_at} />`}</span>${call.done_at && html`<button class="small" onClick=${() => again(call)}><${Icon} name="retry" size=${13} />Call again</button>`}`}>
    <ul class="lines">${call.tries.map((one, at) => html`<li key=${at}><div class="line"><span class="line-top"><b class=${one.status && one.status < 300 ? "is-succeeded" : "is-failed"}>${one.status ?? one.error}</b><span><${Time} at=${one.at} absolute /> · ${duration(one.took)}</span></span></div></li>`)}</ul>
    <${Json} value=${parsed(call.body)} label="What was sent" /><//>`))}<//>`;
}
