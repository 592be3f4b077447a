// Who ran what when: a bar for each attempt, a row for each slot of a worker. It is zoomed and moved by wheel, drag and keys.
import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from "../parts/view.js";
import { get } from "../parts/api.js";
import { useLoad, Loaded } from "../parts/load.js";
import { colour, useTheme } from "../parts/chart.js";
import { Icon } from "../parts/icons.js";
import { duration, moment, now, timeOfDay } from "../parts/time.js";
import { go, useQuery } from "../parts/route.js";
import { jobPath } from "../parts/jobs.js";

const SPANS = { "5 min": 300, "15 min": 900, "1 h": 3600, "6 h": 21_600, "24 h": 86_400 };
const ROW = 20, GAP = 10, HEAD = 26, LEFT = 132, LEFT_NARROW = 78;
const TOKENS = { succeeded: "succeeded", errored: "failed", timed_out: "failed", out_of_memory: "failed", bad_result: "failed", lost: "failed", interrupted: "canceled", snoozed: "scheduled", aborted: "aborted" };
const tokenOf = (bar) => (bar.end === null ? "running" : TOKENS[bar.outcome] ?? "canceled");
const nice = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14_400, 21_600, 43_200, 86_400];

/** Rows, by worker: `{worker, row, bars}`, and where each is drawn. */
function layOut(items) {
  const workers = new Map();
  for (const bar of items) {
    const rows = workers.get(bar.worker) ?? workers.set(bar.worker, new Map()).get(bar.worker);
    (rows.get(bar.row) ?? rows.set(bar.row, []).get(bar.row)).push({ ...bar, from: Date.parse(bar.start), to: bar.end === null ? null : Date.parse(bar.end) });
  }
  let y = HEAD;
  const lanes = [];
  const groups = [];
  for (const [worker, rows] of [...workers].sort(([a], [b]) => (a < b ? -1 : 1))) {
    const top = y;
    for (const [, bars] of [...rows].sort(([a], [b]) => a - b)) {
      lanes.push({ y, bars });
      y += ROW;
    }
    groups.push({ worker, top, bottom: y });
    y += GAP;
  }
  return { lanes, groups, height: Math.max(HEAD + ROW * 3, y) };
}

export default function Timeline() {
  const [query, change] = useQuery();
  const name = SPANS[query.get("span")] ? query.get("span") : "15 min";
  const span = SPANS[name] * 1000;
  const to = query.get("to");
  const handler = query.get("handler"), queue = query.get("queue"), owner = query.get("owner");
  const end = () => (to ? Date.parse(to) : now());
  const of = useLoad(
    (signal) => get("/v1/timeline", { from: new Date(end() - span).toISOString(), to, handler, queue, owner }, { signal }),
    [name, to, handler, queue, owner], { concerns: to ? null : () => true, every: to ? null : 5000 },
  );
  const filter = (field, label) => html`<label class="field" key=${`${field} ${query.get(field) ?? ""}`}><span>${label}</span><input type="search" data-search=${field === "handler" ? "" : null} autocomplete="off" spellcheck="false" placeholder="any" defaultValue=${query.get(field) ?? ""} onChange=${(event) => change({ [field]: event.target.value.trim() || null })} /></label>`;
  const turn = (by) => { const next = end() + by * span; change({ to: next >= now() - 1000 ? null : new Date(next).toISOString() }); };
  return html`<div class="page"><div class="page-head"><h1>Timeline</h1></div>
    <div class="filters"><div class="fields">
      <span class="ranges" role="group" aria-label="Range">${Object.keys(SPANS).map((each) => html`<button key=${each} class="small" aria-pressed=${String(each === name)} onClick=${() => change({ span: each === "15 min" ? null : each })}>${each}</button>`)}</span>
      <span class="ranges"><button class="small" aria-label="Earlier" onClick=${() => turn(-0.5)}><${Icon} name="left" size=${13} /></button><button class="small" aria-label="Later" disabled=${!to} onClick=${() => turn(0.5)}><${Icon} name="right" size=${13} /></button><button class="small" disabled=${!to} onClick=${() => change({ to: null })}>Now</button></span>
      ${filter("handler", "Handler")}${filter("queue", "Queue")}${filter("owner", "Owner")}</div></div>
    <${Loaded} of=${of} lines=${8}>${(data) => html`
      ${data.cut && html`<p class="quiet note">More happened than is shown: these are the newest ${data.items.length} bars.</p>`}
      ${data.items.length === 0 ? html`<div class="empty"><h2>Nothing ran in this time</h2><p>${to ? "" : "A job that runs is a bar here, from its start to its end, on the worker that has it."}</p></div>` : html`<${Gantt} items=${data.items} from=${Date.parse(data.from)} to=${to ? Date.parse(to) : null} span=${span} />`}
      <p class="legend">${[["running", "running"], ["succeeded", "succeeded"], ["failed", "failed"], ["aborted", "aborted"], ["canceled", "given back"]].map(([token, text]) => html`<span key=${token} class=${`is-${token}`}><i></i><span class="quiet">${text}</span></span>`)}</p>`}<//></div>`;
}

function Gantt({ items, from, to, span }) {
  const canvas = useRef(null), box = useRef(null);
  const [tip, point] = useState(null);
  const [view, zoom] = useState(null); // [from, to] in ms, or null: all of it, up to now
  const [size, resize] = useState(0);
  const theme = useTheme();
  const places = useMemo(() => layOut(items), [items]);
  const left = size < 560 ? LEFT_NARROW : LEFT;
  const range = () => view ?? (to ? [to - span, to] : [now() - span, now()]);
  useLayoutEffect(() => {
    const watch = new ResizeObserver(([entry]) => resize(entry.contentRect.width));
    watch.observe(box.current);
    return () => watch.disconnect();
  }, []);
  useEffect(() => zoom(null), [span, to]);
  const draw = () => {
    if (!size) return;
    const paper = canvas.current, ratio = devicePixelRatio || 1;
    paper.width = size * ratio;
    paper.height = places.height * ratio;
    const pen = paper.getContext("2d");
    pen.scale(ratio, ratio);
    const [begin, end] = range();
    const wide = size - left;
    const x = (at) => left + ((at - begin) / (end - begin)) * wide;
    const ink = Object.fromEntries(["text", "muted", "line", "surface", "running", "succeeded", "failed", "aborted", "canceled", "scheduled"].map((each) => [each, colour(each)]));
    const seconds = (end - begin) / 1000;
    const step = nice.find((each) => (wide / seconds) * each >= 78) ?? nice.at(-1);
    const zone = new Date(begin).getTimezoneOffset() * 60;
    pen.font = "11px system-ui, sans-serif";
    pen.textBaseline = "middle";
    for (let at = Math.ceil((begin / 1000 - zone) / step) * step + zone; at * 1000 < end; at += step) {
      const place = Math.round(x(at * 1000)) + 0.5;
      if (place < left) continue;
      pen.strokeStyle = ink.line;
      pen.beginPath();
      pen.moveTo(place, HEAD - 6);
      pen.lineTo(place, places.height);
      pen.stroke();
      pen.fillStyle = ink.muted;
      const text = timeOfDay(at * 1000).slice(0, step < 60 ? 8 : 5);
      if (place + 3 + pen.measureText(text).width <= size) pen.fillText(text, place + 3, 11);
    }
    pen.save();
    pen.beginPath();
    pen.rect(left, 0, wide, places.height);
    pen.clip();
    for (const { y, bars } of places.lanes) {
      for (const bar of bars) {
        const start = x(bar.from), stop = x(bar.to ?? Math.min(end, now()));
        if (stop < left || start > size) continue;
        const width = Math.max(2, stop - start);
        pen.globalAlpha = 0.88;
        pen.fillStyle = ink[tokenOf(bar)];
        pen.beginPath();
        pen.roundRect(start, y + 2, width, ROW - 4, Math.min(3, width / 2));
        pen.fill();
        pen.globalAlpha = 1;
        if (width > 46) {
          pen.save();
          pen.beginPath();
          pen.rect(Math.max(start, left), y, Math.min(stop, size) - Math.max(start, left) - 4, ROW);
          pen.clip();
          pen.fillStyle = ink.surface;
          pen.fillText(bar.handler ?? bar.kind, Math.max(start, left) + 5, y + ROW / 2 + 0.5);
          pen.restore();
        }
      }
    }
    pen.restore();
    for (const { worker, top, bottom } of places.groups) {
      pen.strokeStyle = ink.line;
      pen.beginPath();
      pen.moveTo(0, bottom + GAP / 2 + 0.5);
      pen.lineTo(size, bottom + GAP / 2 + 0.5);
      pen.stroke();
      pen.fillStyle = ink.text;
      pen.save();
      pen.beginPath();
      pen.rect(0, top, left - 8, bottom - top);
      pen.clip();
      pen.fillText(worker.split(".")[0], 12, top + ROW / 2);
      pen.restore();
    }
  };
  useLayoutEffect(draw, [items, size, view, theme, span, to]);
  useEffect(() => {
    if (to || view) return undefined;
    const timer = setInterval(() => { if (!document.hidden) draw(); }, 1000);
    return () => clearInterval(timer);
  });
  const at = (event) => {
    const place = canvas.current.getBoundingClientRect();
    const [begin, end] = range();
    const px = event.clientX - place.left, py = event.clientY - place.top;
    return { px, py, time: begin + ((px - left) / (size - left)) * (end - begin), perPixel: (end - begin) / (size - left) };
  };
  const find = (event) => {
    const { px, py, time, perPixel } = at(event);
    if (px < left) return null;
    const lane = places.lanes.find(({ y }) => py >= y && py < y + ROW);
    const bar = lane?.bars.find((each) => time >= each.from - 3 * perPixel && time <= (each.to ?? now()) + 3 * perPixel);
    return bar ? { bar, px, py } : null;
  };
  const keep = ([begin, end]) => { const most = now(); const wide = end - begin; return end > most && !to ? [most - wide, most] : [begin, end]; };
  const scale = (factor, middle) => { const [begin, end] = range(); const wide = Math.max(1000, Math.min(SPANS["24 h"] * 1000, (end - begin) * factor)); const part = (middle - begin) / (end - begin); zoom(keep([middle - part * wide, middle - part * wide + wide])); };
  const shift = (part) => { const [begin, end] = range(); zoom(keep([begin + part * (end - begin), end + part * (end - begin)])); };
  useEffect(() => {
    const wheel = (event) => {
      if (!event.ctrlKey && !event.shiftKey && Math.abs(event.deltaY) > Math.abs(event.deltaX)) { if (!event.altKey) return; }
      event.preventDefault();
      if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY)) shift((event.deltaX || event.deltaY) / size);
      else scale(Math.exp(event.deltaY / 400), at(event).time);
    };
    const paper = canvas.current;
    paper.addEventListener("wheel", wheel, { passive: false });
    return () => paper.removeEventListener("wheel", wheel);
  });
  const drag = useRef(null);
  const down = (event) => { drag.current = { x: event.clientX, range: range(), moved: false }; canvas.current.setPointerCapture?.(event.pointerId); };
  const move = (event) => {
    const held = drag.current;
    if (held && event.buttons) {
      const by = event.clientX - held.x;
      if (Math.abs(by) > 3) held.moved = true;
      if (held.moved) {
        const [begin, end] = held.range;
        zoom(keep([begin - (by / (size - left)) * (end - begin), end - (by / (size - left)) * (end - begin)]));
        point(null);
        return;
      }
    }
    point(find(event));
  };
  const up = (event) => {
    const held = drag.current;
    drag.current = null;
    if (held && !held.moved) {
      const found = find(event);
      if (found) go(jobPath(found.bar.job));
    }
  };
  const keys = (event) => {
    const [begin, end] = range();
    const does = { ArrowLeft: () => shift(-0.2), ArrowRight: () => shift(0.2), "+": () => scale(0.6, (begin + end) / 2), "=": () => scale(0.6, (begin + end) / 2), "-": () => scale(1.6, (begin + end) / 2), "0": () => zoom(null) }[event.key];
    if (does) { event.preventDefault(); does(); }
  };
  return html`<div class="gantt" ref=${box}>
    <div class="gantt-tools"><button class="small" aria-label="Zoom in" onClick=${() => { const [a, b] = range(); scale(0.6, (a + b) / 2); }}>+</button><button class="small" aria-label="Zoom out" onClick=${() => { const [a, b] = range(); scale(1.6, (a + b) / 2); }}>−</button>${view && html`<button class="small" onClick=${() => zoom(null)}>All</button>`}</div>
    <canvas ref=${canvas} tabindex="0" role="img" aria-label=${`${items.length} attempts on ${places.groups.length} workers. Arrows move, plus and minus zoom, 0 shows all.`} style=${{ width: `${size}px`, height: `${places.height}px` }}
      onPointerDown=${down} onPointerMove=${move} onPointerUp=${up} onPointerLeave=${() => point(null)} onKeyDown=${keys} class=${tip ? "over-bar" : ""}></canvas>
    ${tip && html`<div class="tip" style=${{ left: `${Math.min(tip.px + 12, Math.max(0, size - 250))}px`, top: `${tip.py + 14}px` }}><b>${tip.bar.handler ?? tip.bar.kind}</b> <span class=${`is-${tokenOf(tip.bar)}`}>${tip.bar.outcome?.replaceAll("_", " ") ?? "running"}</span><br />
      attempt ${tip.bar.attempt}${tip.bar.inputs ? `, inputs ${tip.bar.first} to ${tip.bar.first + tip.bar.inputs - 1}` : ""} · ${duration(((tip.bar.to ?? now()) - tip.bar.from) / 1000)}<br /><span class="quiet">${moment(tip.bar.from)} · ${tip.bar.owner}</span>${tip.bar.error && html`<br /><span class="is-failed">${tip.bar.error}</span>`}</div>`}
  </div>`;
}
