// How a job is called, and what can be done with it: the same on every page.
import { html } from "./view.js";
import { part, post } from "./api.js";
import { confirm, say } from "./dialog.js";
import { OVER } from "./icons.js";
import { href } from "./route.js";

/** What a job runs, in a few words. */
export function nameOf(job) {
  if (job.handler) return job.handler;
  if (job.image) return job.image;
  const text = (job.command ?? job.script ?? "").split("\n").find((each) => each.trim() && !/^(#|set -)/.test(each.trim())) ?? "";
  return text.length > 80 ? `${text.slice(0, 79)}…` : text || "script";
}
export const kindOf = (job) => (job.handler ? "handler" : job.image ? "image" : job.command ? "command" : "script");

/** What it is run with, in a few words. */
export function inputOf(job) {
  const parts = [];
  const show = (value) => (typeof value === "string" ? value : JSON.stringify(value));
  if (job.data && typeof job.data === "object" && !Array.isArray(job.data)) for (const [name, value] of Object.entries(job.data).slice(0, 4)) parts.push(`${name}=${show(value)}`);
  else if (job.data !== null && job.data !== undefined) parts.push(show(job.data));
  for (const value of (job.args ?? []).slice(0, 4)) parts.push(show(value));
  const text = parts.join(" ");
  return text.length > 90 ? `${text.slice(0, 89)}…` : text;
}

/** The last characters of an id: those that differ. */
export const brief = (id) => (id.length > 12 ? `…${id.slice(-8)}` : id);

export const jobPath = (id) => `/jobs/${part(id)}`;

export function JobLink({ id, text }) {
  return html`<a class="mono" href=${href(jobPath(id))} title=${id}>${text ?? brief(id)}</a>`;
}

export const canStop = (job) => !OVER.has(job.state) && job.display_state !== "aborting";
export const canRetry = (job) => OVER.has(job.state);
export const canEdit = (job) => ["blocked", "scheduled", "queued"].includes(job.state);

/** Ask, and stop a job. */
export function stop(job, then) {
  const runs = job.state === "running";
  return confirm({
    title: runs ? "Abort this job?" : "Cancel this job?",
    text: runs
      ? html`<p><b>${nameOf(job)}</b> is running${job.worker ? html` on <code>${job.worker}</code>` : ""}. Its whole process tree is ended: first SIGTERM, then SIGKILL after ${job.grace} s. It is not tried again, and jobs that wait for it are canceled.</p>`
      : html`<p><b>${nameOf(job)}</b> has not started. It will not run, and jobs that wait for it are canceled.</p>`,
    action: runs ? "Abort" : "Cancel the job",
    danger: true,
    work: async () => {
      const after = await post(`/v1/jobs/${part(job.id)}/abort`, {});
      say(after.state === "aborted" || after.state === "canceled" ? `The job is ${after.state}.` : "The abort is durable; its processes are being ended.");
      then?.(after);
    },
  });
}

/** Ask, and run a job again. */
export function retry(job, then) {
  return confirm({
    title: "Run it again?",
    text: html`<p>A new job is made of <b>${nameOf(job)}</b>${job.array ? "; of its inputs it runs only those that did not succeed" : ""}. This one stays as it is.</p>`,
    action: "Run again",
    work: async () => {
      const made = await post(`/v1/jobs/${part(job.id)}/retry`, {});
      say("Submitted again.", { link: { href: href(jobPath(made.id)), text: "Open it" } });
      then?.(made);
    },
  });
}
