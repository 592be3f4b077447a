// What can be changed of a job that has not started.
import { html, useState, useId } from "../parts/view.js";
import { part, patch } from "../parts/api.js";
import { say, show } from "../parts/dialog.js";
import { Trouble } from "../parts/load.js";

export const edit = (job, then) => show("Change the job", (close) => html`<${Form} job=${job} close=${close} then=${then} />`);

function Form({ job, close, then }) {
  const [error, fail] = useState(null);
  const ids = [useId(), useId(), useId()];
  const send = async (event) => {
    event.preventDefault();
    const form = new FormData(event.target);
    const body = {};
    if (Number(form.get("priority")) !== job.priority) body.priority = Number(form.get("priority"));
    if (form.get("queue").trim() !== job.queue) body.queue = form.get("queue").trim();
    if (form.get("delay").trim()) body.delay = form.get("delay").trim();
    if (Object.keys(body).length === 0) return close(false);
    try {
      await patch(`/v1/jobs/${part(job.id)}`, body);
      say("Changed.");
      then?.();
      return close(true);
    } catch (problem) {
      return fail(problem);
    }
  };
  return html`<form onSubmit=${send}><${Trouble} error=${error} />
    <div class="form-row"><label for=${ids[0]}>Priority</label><input id=${ids[0]} name="priority" type="number" defaultValue=${job.priority} data-autofocus /></div>
    <div class="form-row"><label for=${ids[1]}>Queue</label><input id=${ids[1]} name="queue" defaultValue=${job.queue} /></div>
    <div class="form-row"><label for=${ids[2]}>Run in</label><input id=${ids[2]} name="delay" placeholder="as it is; 0 for now, 30s, 2h" /></div>
    <div class="dialog-actions"><button type="button" onClick=${() => close(false)}>Keep as it is</button><button class="primary">Change</button></div></form>`;
}
