// Fields for a handler's arguments, from its own signature. What a worker has not described is given as JSON.
import { html, useId } from "../parts/view.js";

/** The arguments that a handler takes, or null when nothing is known of them. */
export function fieldsOf(handler) {
  const parameters = (handler?.parameters ?? []).filter((name) => name !== "ctx");
  if (parameters.length === 0) return null;
  return parameters.map((text) => ({ name: text, kind: "any" }));
}

/** What was typed, as data. Each is JSON where it reads as such, else a text. */
export function valueOf(fields, values) {
  const data = {};
  for (const { name } of fields) {
    const text = (values[name] ?? "").trim();
    if (!text) continue;
    try { data[name] = JSON.parse(text); } catch { data[name] = text; }
  }
  return data;
}

export function Arguments({ fields, values, change, wrong }) {
  const id = useId("arg");
  return fields.map(({ name }) => {
    const bad = wrong?.field === `data.${name}`;
    return html`<div class="form-row" key=${name}><label class="mono" for=${`${id}${name}`}>${name}</label><input id=${`${id}${name}`} autocomplete="off" spellcheck="false" value=${values[name] ?? ""} aria-invalid=${bad ? "true" : null} placeholder="text, number or JSON" onInput=${(event) => change({ ...values, [name]: event.target.value })} />${bad && html`<p class="wrong">${wrong.message}</p>`}</div>`;
  });
}
