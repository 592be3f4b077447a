// Why a job does not run: the first reason holds now, the others will then.
import { html } from "./view.js";
import { Time } from "./time.js";

const MOMENT = /(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z)/;
/** A text whose moments are in the viewer's zone. */
const timed = (text) => text.split(MOMENT).map((part, at) => (at % 2 ? html`<${Time} key=${at} at=${part} absolute />` : part));

export function Reasons({ reasons }) {
  return html`<div class="reasons">${reasons.map((one, at) => html`<div class="reason" key=${at}><span class="tag code">${one.code}</span><p>${timed(one.text)}</p>${one.way_out && html`<p class="way">${one.way_out}</p>`}</div>`)}</div>`;
}
