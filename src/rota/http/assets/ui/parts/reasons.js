// Why a job does not run: the first reason holds now, the others will then.
import { html } from "./view.js";

export function Reasons({ reasons }) {
  return html`<div class="reasons">${reasons.map((one, at) => html`<div class="reason" key=${at}><span class="tag code">${one.code}</span><p>${one.text}</p>${one.way_out && html`<p class="way">${one.way_out}</p>`}</div>`)}</div>`;
}
