// What a job waits for, and what waits for it, in words and as a graph.
import { html } from "../parts/view.js";
import { get, part } from "../parts/api.js";
import { useLoad, Loaded } from "../parts/load.js";
import { Panel } from "../parts/table.js";
import { OVER } from "../parts/icons.js";
import { JobLink } from "../parts/jobs.js";
import { Graph } from "../parts/graph.js";

const ENDS = { failed: "fails", finished: "has run to its end", any: "is over, however" };
const MOST = 20;

/** The ids of what a job waits for, with the end that is not simply a success, and how many of them it takes. */
export function waitsFor(job) {
  const join = job.join === "all" ? null : job.join === "any" ? "any of" : `at least ${job.join.at_least} of`;
  return html`${join && job.after.length > 1 && html`<span class="quiet">${join} </span>`}${job.after.slice(0, MOST).map((id, at) => html`<span key=${id}>${at ? ", " : ""}<${JobLink} id=${id} />${job.after_on[id] && html` <span class="quiet">${ENDS[job.after_on[id]]}</span>`}</span>`)}${job.after.length > MOST ? ` and ${job.after.length - MOST} more` : ""}`;
}

/** Nothing where the job stands alone. */
export function Around({ job }) {
  const of = useLoad((signal) => get(`/v1/jobs/${part(job.id)}/graph`, { limit: 120 }, { signal }), [job.id, job.state], { concerns: (batch) => of.data?.nodes.some((node) => batch.jobs.has(node.id)), every: OVER.has(job.state) ? 60_000 : 15_000 });
  if (!of.error && !(of.data?.nodes.length > 1)) return null;
  return html`<${Panel} id="around" title="Before and after it" aside=${of.data?.cut && "the nearest"}><${Loaded} of=${of}>${({ nodes, edges }) => html`<${Graph} nodes=${nodes} edges=${edges} here=${job.id} label=${`${nodes.length} jobs that wait for each other`} />`}<//><//>`;
}
