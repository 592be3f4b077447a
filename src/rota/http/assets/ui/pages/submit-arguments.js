// Fields for a handler's arguments, made of the schema that its signature has. What no field fits is given as JSON.
import { html, useId } from "../parts/view.js";

/** A schema without the ways that lead to it: `{type, values, optional, schema}`. */
function plain(schema, definitions) {
  let found = schema ?? {}, optional = false;
  for (let step = 0; step < 5; step += 1) {
    if (found.$ref) found = { ...definitions[found.$ref.split("/").pop()], ...("default" in found ? { default: found.default } : {}) };
    else if (found.anyOf) {
      const others = found.anyOf.filter((one) => one.type !== "null");
      optional ||= others.length < found.anyOf.length;
      if (others.length !== 1) return { type: "any", optional, schema: found };
      found = { ...others[0], ...("default" in found ? { default: found.default } : {}), ...(found.description ? { description: found.description } : {}) };
    } else break;
  }
  if (found.enum && found.enum.every((value) => typeof value !== "object")) return { type: "choice", values: found.enum, optional, schema: found };
  const type = ["string", "integer", "number", "boolean"].includes(found.type) ? found.type : found.type === "array" || found.type === "object" ? "json" : "any";
  return { type, optional, schema: found };
}

/** The arguments that a handler takes by name, or null when nobody knows them. */
export function fieldsOf(handler) {
  const schema = handler?.schema;
  if (!schema?.properties) return null;
  const definitions = schema.$defs ?? schema.definitions ?? {};
  return Object.entries(schema.properties).map(([name, property]) => ({ name, required: (schema.required ?? []).includes(name), ...plain(property, definitions) }));
}

/** What was typed, as data. Raises an Error that names the argument. */
export function valueOf(fields, values) {
  const data = {};
  for (const { name, type } of fields) {
    const text = values[name] ?? "";
    if (text === "") continue;
    if (type === "string" || type === "choice") data[name] = text;
    else if (type === "integer" || type === "number") data[name] = Number(text);
    else if (type === "boolean") data[name] = text === "true";
    else {
      try { data[name] = JSON.parse(text); } catch (error) {
        if (type === "json") throw new Error(`${name} is no JSON: ${error.message}`);
        data[name] = text;
      }
    }
  }
  for (const { name, type, values: choices } of fields) if (type === "choice" && name in data) data[name] = choices.find((one) => String(one) === data[name]);
  return data;
}

const KINDS = { string: "a text", integer: "a whole number", number: "a number", boolean: "yes or no", json: "JSON", any: "a text, a number or JSON" };

export function Arguments({ fields, values, change, wrong }) {
  const id = useId("arg");
  return fields.map(({ name, type, required, schema, values: choices }) => {
    const bad = wrong?.field === `data.${name}` || wrong?.field?.startsWith(`data.${name}.`) || wrong?.field?.startsWith(`data.${name}[`);
    const preset = "default" in schema ? JSON.stringify(schema.default) : null;
    const set = (event) => change({ ...values, [name]: event.target.value });
    const options = type === "boolean" ? [true, false] : choices;
    const shared = { id: id + name, required, "aria-invalid": bad ? "true" : null, onInput: set };
    return html`<div class=${`form-row${type === "json" ? " top-aligned" : ""}`} key=${name}><label class="mono" for=${id + name}>${name}</label>
      ${options ? html`<select ...${shared} value=${values[name] ?? ""} onChange=${set}><option value="">${preset ?? (required ? "choose" : "as it is")}</option>${options.map((one) => html`<option key=${one} value=${String(one)}>${String(one)}</option>`)}</select>`
        : type === "json" ? html`<textarea rows="3" spellcheck="false" ...${shared} value=${values[name] ?? ""} placeholder=${preset ?? (schema.type === "array" ? "[1, 2]" : "{}")}></textarea>`
          : html`<input autocomplete="off" spellcheck="false" ...${shared} type=${type === "integer" || type === "number" ? "number" : "text"} step=${type === "integer" ? "1" : "any"} value=${values[name] ?? ""} placeholder=${preset ?? KINDS[type]} />`}
      ${bad ? html`<p class="wrong">${wrong.message}</p>` : schema.description && html`<p class="hint">${schema.description}</p>`}</div>`;
  });
}
