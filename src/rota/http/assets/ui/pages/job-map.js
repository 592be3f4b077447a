// A map of an array's inputs: a cell each where there are few, else a cell for so many, filled by how many are in each state.
import { html, useEffect, useLayoutEffect, useRef, useState } from "../parts/view.js";
import { get, part } from "../parts/api.js";
import { useLoad, Loaded } from "../parts/load.js";
import { OVER, State } from "../parts/icons.js";
import { colour, useTheme } from "../parts/chart.js";
import { compact, count } from "../parts/time.js";

const MOST = 2000, MOST_NARROW = 700;
// From below to above; what is to be seen first is on top, and never too thin to be seen.
const ORDER = ["succeeded", "running", "queued", "scheduled", "canceled", "aborted", "failed"];
const SEEN = { failed: 0.34, aborted: 0.25, running: 0.2 };
const FAINT = { queued: 0.16, canceled: 0.3, scheduled: 0.55, succeeded: 0.78 };

/** The states of the inputs of a cell, those that there are. */
const inCell = (map, cell) => ORDER.filter((state) => map.states[state][cell] > 0).map((state) => [state, map.states[state][cell]]);

/** `open(first, n)`: what is done with a cell; `chosen`: the first input of the one that is marked. */
export function InputMap({ job, open, chosen = null }) {
  const narrow = innerWidth < 700;
  const of = useLoad((signal) => get(`/v1/jobs/${part(job.id)}/inputs/map`, { buckets: narrow ? MOST_NARROW : MOST }, { signal }), [job.id, job.state], { concerns: (batch) => batch.jobs.has(job.id), every: OVER.has(job.state) ? null : 2000 });
  return html`<${Loaded} of=${of} lines=${3}>${(map) => html`<${Cells} map=${map} open=${open} chosen=${chosen} />`}<//>`;
}

function Cells({ map, open, chosen }) {
  const box = useRef(null), canvas = useRef(null);
  const [wide, resize] = useState(0);
  const [at, point] = useState(null); // the cell under the pointer, or that the keys have gone to
  const theme = useTheme();
  const n = Math.ceil(map.inputs / map.size);
  const cell = n <= 150 ? 18 : n <= 600 ? 13 : 9, gap = cell > 10 ? 3 : 2, step = cell + gap;
  const columns = Math.max(1, Math.floor((wide + gap) / step)), rows = Math.ceil(n / columns);
  useLayoutEffect(() => {
    const watch = new ResizeObserver(([entry]) => resize(Math.floor(entry.contentRect.width)));
    watch.observe(box.current);
    return () => watch.disconnect();
  }, []);
  const marked = chosen === null ? null : Math.floor(chosen / map.size);
  useEffect(() => {
    if (!wide) return;
    const paper = canvas.current, ratio = devicePixelRatio || 1;
    paper.width = columns * step * ratio;
    paper.height = rows * step * ratio;
    const pen = paper.getContext("2d");
    pen.scale(ratio, ratio);
    const ink = Object.fromEntries([...ORDER, "text", "accent"].map((token) => [token, colour(token)]));
    const round = cell > 10 ? 3 : 2;
    for (let each = 0; each < n; each += 1) {
      const x = (each % columns) * step, y = Math.floor(each / columns) * step;
      const there = inCell(map, each);
      const all = there.reduce((sum, [, many]) => sum + many, 0) || 1;
      const least = there.map(([state, many]) => Math.max(many / all, there.length > 1 ? SEEN[state] ?? 0 : 0));
      const total = least.reduce((sum, part) => sum + part, 0);
      pen.save();
      pen.beginPath();
      pen.roundRect(x, y, cell, cell, round);
      pen.clip();
      let below = y + cell;
      there.forEach(([state], which) => {
        const high = (least[which] / total) * cell;
        pen.globalAlpha = FAINT[state] ?? 1;
        pen.fillStyle = ink[state];
        pen.fillRect(x, below - high, cell, high + 0.3);
        below -= high;
      });
      pen.restore();
      if (each === at || each === marked) {
        pen.strokeStyle = each === marked ? ink.accent : ink.text;
        pen.lineWidth = 2;
        pen.beginPath();
        pen.roundRect(x + 0.5, y + 0.5, cell - 1, cell - 1, round);
        pen.stroke();
      }
    }
  }, [map, wide, theme, at, marked]);
  const find = (event) => {
    const place = canvas.current.getBoundingClientRect();
    const column = Math.floor((event.clientX - place.left) / step), row = Math.floor((event.clientY - place.top) / step);
    const found = row * columns + column;
    return column >= 0 && column < columns && found >= 0 && found < n ? found : null;
  };
  const enter = (which) => { if (which !== null) open(which * map.size, Math.min(map.size, map.inputs - which * map.size)); };
  const key = (event) => {
    const by = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns }[event.key];
    if (by) point(Math.max(0, Math.min(n - 1, (at ?? -by) + by)));
    else if (event.key === "Enter") enter(at);
    else return;
    event.preventDefault();
    event.stopPropagation();
  };
  const sums = ORDER.map((state) => [state, map.states[state].reduce((sum, many) => sum + many, 0)]).filter(([, many]) => many > 0);
  return html`<div class="map">
    <ul class="tally">${sums.map(([state, many]) => html`<li key=${state}><${State} of=${state} /> <b class="num">${compact(many)}</b></li>`)}</ul>
    <div ref=${box}><canvas ref=${canvas} tabindex="0" role="img" aria-label=${`${count(map.inputs)} inputs, ${map.size === 1 ? "a cell each" : `${count(map.size)} a cell`}: ${sums.map(([state, many]) => `${count(many)} ${state}`).join(", ")}`} style=${{ width: `${columns * step}px`, height: `${rows * step}px` }}
      onPointerMove=${(event) => point(find(event))} onPointerLeave=${() => point(null)} onBlur=${() => point(null)} onClick=${(event) => enter(find(event))} onKeyDown=${key}></canvas></div>
    <p class="map-tip" aria-live="polite">${at === null ? html`<span class="quiet">${map.size === 1 ? "A cell is an input." : `A cell is ${count(map.size)} inputs.`}</span>` : html`<b class="num">${map.size === 1 ? `Input ${count(at)}` : `Inputs ${count(at * map.size)} to ${count(Math.min(map.inputs, (at + 1) * map.size) - 1)}`}</b>${inCell(map, at).map(([state, many]) => html` <span key=${state} class=${`is-${state}`}>${map.size === 1 ? "" : `${count(many)} `}${state}</span>`)}`}</p></div>`;
}
