// JSON, folded: always shown as text.
import { html, useState } from "./view.js";
import { attempt } from "./dialog.js";
import { Icon } from "./icons.js";

const MOST = 100; // members shown at once

function Value({ value, name, depth }) {
  const [open, turn] = useState(depth < 2);
  const [shown, more] = useState(MOST);
  const key = name === undefined ? null : html`<span class="json-key">${name}</span><span class="json-mark">: </span>`;
  if (value === null || typeof value !== "object") {
    const kind = value === null ? "null" : typeof value;
    return html`<div class="json-line">${key}<span class=${`json-${kind}`}>${kind === "string" ? JSON.stringify(value) : String(value)}</span></div>`;
  }
  const list = Array.isArray(value);
  const entries = Object.entries(value);
  if (entries.length === 0) return html`<div class="json-line">${key}<span class="json-mark">${list ? "[]" : "{}"}</span></div>`;
  const brief = list ? `[ ${entries.length} ]` : `{ ${entries.length} }`;
  return html`<div class="json-node">
    <button type="button" class="json-fold" aria-expanded=${String(open)} onClick=${() => turn(!open)}><${Icon} name=${open ? "down" : "right"} size=${12} />${key}<span class="json-mark">${brief}</span></button>
    ${open && html`<div class="json-in">${entries.slice(0, shown).map(([each, inner]) => html`<${Value} key=${each} name=${each} value=${inner} depth=${depth + 1} />`)}
      ${entries.length > shown && html`<button type="button" class="small" onClick=${() => more(shown + 10 * MOST)}>${entries.length - shown} more</button>`}</div>`}
  </div>`;
}

/** A value as JSON, with a way to copy it. */
export function Json({ value, label }) {
  return html`<div class="json" aria-label=${label} role="group"><${Copy} text=${() => JSON.stringify(value, null, 2)} what=${label ?? "JSON"} /><${Value} value=${value} depth=${0} /></div>`;
}

/** A button that copies a text. */
export function Copy({ text, what = "it" }) {
  const copy = () => attempt(() => navigator.clipboard.writeText(typeof text === "function" ? text() : text), "Copied");
  return html`<button type="button" class="plain copy" aria-label=${`Copy ${what}`} title="Copy" onClick=${(event) => { event.preventDefault(); event.stopPropagation(); copy(); }}><${Icon} name="copy" size=${14} /></button>`;
}

/** A command that may be copied. */
export function Command({ text }) {
  return html`<div class="command-box"><pre class="command"><code>${text}</code></pre><${Copy} text=${text} what="the command" /></div>`;
}
