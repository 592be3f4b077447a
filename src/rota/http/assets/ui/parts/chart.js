// Charts over time, drawn by uPlot in the colours of the theme. The figures are there as a text too.
import { html, useEffect, useLayoutEffect, useRef, useState } from "./view.js";
import { moment } from "./time.js";

/** The colour that a token has in this theme, as a canvas wants it. */
export function colour(token) {
  const probe = document.createElement("i");
  probe.style.color = `var(--${token})`;
  document.body.append(probe);
  const found = getComputedStyle(probe).color;
  probe.remove();
  return found;
}

let uPlot = null;

/** Whether uPlot is there: it is asked for by the first chart, and nothing else waits for it. */
function usePlots() {
  const [there, set] = useState(uPlot !== null);
  useEffect(() => {
    if (there) return undefined;
    let alive = true;
    import("../vendor/uplot.js").then((module) => {
      uPlot = module.default;
      if (alive) set(true);
    }, () => null); // the server has another version by now: the figures are there as a text
    return () => { alive = false; };
  }, [there]);
  return there;
}

/** How often the theme has changed: what is drawn on a canvas is drawn anew. */
export function useTheme() {
  const [n, turn] = useState(0);
  useEffect(() => {
    const change = () => turn((old) => old + 1);
    const system = matchMedia("(prefers-color-scheme: dark)");
    system.addEventListener("change", change);
    window.addEventListener("rota-theme", change);
    return () => {
      system.removeEventListener("change", change);
      window.removeEventListener("rota-theme", change);
    };
  }, []);
  return n;
}

const fade = (text, part) => text.replace(/^rgb\((.*)\)$/, `rgba($1, ${part})`);
/** Of a logarithmic scale only the powers of ten get a line. */
const decades = (_, splits) => splits.map((value) => (value > 0 && Math.abs(Math.log10(value) % 1) < 1e-9 ? value : null));
const two = (n) => String(n).padStart(2, "0");
const DAY = 86_400;

function axisTimes(_, splits) {
  const span = splits.at(-1) - splits[0];
  return splits.map((s) => {
    const at = new Date(s * 1000);
    return span > 2 * DAY || (span > DAY / 4 && at.getHours() === 0 && at.getMinutes() === 0) ? `${at.getMonth() + 1}/${at.getDate()}` : `${two(at.getHours())}:${two(at.getMinutes())}`;
  });
}

/**
 * `series`: `{name, token, values, area, dash}`; `at` the times in seconds. `format` writes a value. With `log` the scale is
 * logarithmic: what is 0 is left out.
 */
export function Chart({ label, at, series, format, height = 150, log = false }) {
  const box = useRef(null);
  const plot = useRef(null);
  const [cursor, point] = useState(null);
  const theme = useTheme();
  const there = usePlots();
  const names = series.map((one) => one.name).join();
  const data = () => [at, ...series.map((one) => (log ? one.values.map((value) => (value > 0 ? value : null)) : one.values))];
  useLayoutEffect(() => {
    if (!there) return undefined;
    const muted = colour("muted"), line = colour("line");
    const axis = { stroke: muted, font: "11px system-ui, sans-serif", grid: { stroke: line, width: 1, ...(log ? { filter: decades } : {}) }, ticks: { show: false }, gap: 4 };
    const options = {
      width: box.current.clientWidth, height, legend: { show: false }, padding: [8, 6, 0, 0],
      cursor: { points: { size: 6 }, drag: { x: false, y: false }, sync: { key: "rota" } },
      scales: { x: { time: true }, y: log ? { distr: 3 } : { range: (_, low, high) => [0, Math.max(1, (high ?? 1) * 1.08)] } },
      axes: [{ ...axis, values: axisTimes, size: 24, space: 64 }, { ...axis, size: 46, space: 30, values: (_, splits) => splits.map((value) => (value === null ? "" : format(value))) }],
      series: [{}, ...series.map((one) => { const ink = colour(one.token); return { label: one.name, stroke: ink, width: 1.6, dash: one.dash, fill: one.area ? fade(ink, 0.13) : undefined, points: { show: (u, at) => u.data[at].filter((value) => value !== null).length < 2, size: 5 }, spanGaps: false }; })],
      hooks: { setCursor: [(u) => point(u.cursor.idx ?? null)] },
    };
    plot.current = new uPlot(options, data(), box.current);
    const watch = new ResizeObserver(([entry]) => plot.current?.setSize({ width: Math.max(80, entry.contentRect.width), height }));
    watch.observe(box.current);
    return () => {
      watch.disconnect();
      plot.current.destroy();
      plot.current = null;
    };
  }, [names, theme, log, height, there]);
  useEffect(() => { plot.current?.setData(data()); }, [at, series]);
  const index = cursor ?? at.length - 1;
  const shown = (one) => { const value = cursor === null ? one.values.findLast((each) => each !== null) : one.values[index]; return value === null || value === undefined ? "–" : format(value); };
  return html`<figure class="chart" role="group" aria-label=${label}>
    <figcaption>${series.map((one) => html`<span key=${one.name} class="key"><i class=${one.dash ? "dashed" : ""} style=${{ color: `var(--${one.token})` }}></i>${one.name}<b class="num">${shown(one)}</b></span>`)}<span class="when">${cursor === null || at[index] === undefined ? "" : moment(at[index] * 1000)}</span></figcaption>
    <div class="plot" ref=${box} aria-hidden="true"></div>
  </figure>`;
}
