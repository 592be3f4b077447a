// One table for all lists: dense on a desk, cards on a phone; rows can be walked with j and k, and chosen.
import { html, cls } from "./view.js";
import { go } from "./route.js";

const LONG = 20; // characters: it may not fit into a column

/**
 * `columns`: `{name, head, cell(row), kind}`; `kind` is "num", "wide", "brief" (cut where it is long), "title" (the first line of a card) or "end". `link(row)`
 * is the row's own page. `chosen` is a Set of keys, changed by `choose(next)`.
 */
export function Table({ columns, rows, rowKey = (row) => row.id, link = null, chosen = null, choose = null, label, fresh = null }) {
  const turn = (key, on) => {
    const next = new Set(chosen);
    on ? next.add(key) : next.delete(key);
    choose(next);
  };
  const keys = rows.map(rowKey);
  const all = chosen && keys.length > 0 && keys.every((key) => chosen.has(key));
  const open = (event, row) => {
    if (!link || event.target.closest("a, button, input, time, label, summary") || String(getSelection())) return;
    go(link(row));
  };
  return html`<div class="table-box"><table class="grid" aria-label=${label}>
    <thead><tr>
      ${choose && html`<th class="choose"><input type="checkbox" aria-label="Choose all on this page" checked=${all} onChange=${(event) => choose(new Set(event.target.checked ? keys : []))} /></th>`}
      ${columns.map((column) => html`<th key=${column.name} scope="col" class=${column.kind ?? ""}>${column.head}</th>`)}
    </tr></thead>
    <tbody>${rows.map((row) => {
      const key = rowKey(row);
      const on = chosen?.has(key);
      return html`<tr key=${key} data-row=${key} class=${cls(link && "opens", on && "chosen", fresh?.(row) && "fresh")} onClick=${(event) => open(event, row)}>
        ${choose && html`<td class="choose"><input type="checkbox" aria-label=${`Choose ${key}`} checked=${on} onChange=${(event) => turn(key, event.target.checked)} /></td>`}
        ${columns.map((column) => {
          const value = column.cell(row);
          return html`<td key=${column.name} class=${column.kind ?? ""} data-head=${column.head} title=${typeof value === "string" && value.length > LONG ? value : null}>${value}</td>`;
        })}
      </tr>`;
    })}</tbody>
  </table></div>`;
}

/** How full something is. `of` null: nobody knows how much there is to do. */
export function Bar({ value, of = 1, label, kind = "" }) {
  const part = of ? Math.max(0, Math.min(1, value / of)) : 0;
  return html`<span class=${cls("bar", kind)} role="progressbar" aria-label=${label} aria-valuemin="0" aria-valuemax=${of} aria-valuenow=${value}><i style=${{ width: `${(part * 100).toFixed(2)}%` }}></i></span>`;
}

/** Where there is nothing: what would be here, and how it comes. */
export function Empty({ title, children, command }) {
  return html`<div class="empty"><h3>${title}</h3>${children && html`<p>${children}</p>`}${command && html`<pre class="command"><code>${command}</code></pre>`}</div>`;
}

export function Panel({ title, more, aside, children, kind = "", id }) {
  return html`<section class=${cls("panel", kind)} aria-labelledby=${id}>
    <header><h2 id=${id}>${more ? html`<a href=${more}>${title}</a>` : title}</h2>${aside && html`<div class="aside">${aside}</div>`}</header>
    <div class="panel-body">${children}</div>
  </section>`;
}
