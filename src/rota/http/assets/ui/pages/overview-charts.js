// What went on: started and ended, waits and runs, what was waiting; of the last hour to the last 30 days.
import { html, useMemo } from "../parts/view.js";
import { get } from "../parts/api.js";
import { useLoad, Loaded } from "../parts/load.js";
import { Panel } from "../parts/table.js";
import { Chart } from "../parts/chart.js";
import { compact, duration, now } from "../parts/time.js";
import { useQuery } from "../parts/route.js";

const HOUR = 3600;
// name: seconds, how long a point lasts, how often it is looked at
const RANGES = { "1h": [HOUR, 60, 10_000], "6h": [6 * HOUR, 300, 15_000], "24h": [24 * HOUR, 900, 30_000], "7d": [7 * 24 * HOUR, 3600, 60_000], "30d": [30 * 24 * HOUR, 4 * HOUR, 60_000] };

const seconds = (value) => duration(value).replace(" ", "\u202f");
const rate = (value) => (value < 10 && value % 1 ? value.toFixed(1) : compact(value));

export function Charts() {
  const [query, change] = useQuery();
  const range = RANGES[query.get("range")] ? query.get("range") : "1h";
  const [span, step, every] = RANGES[range];
  // Whole steps: who looks at the same time asks the same, and has one answer.
  const begin = () => new Date(1000 * step * Math.floor((now() / 1000 - span) / step)).toISOString();
  const of = useLoad((signal) => get("/v1/stats/series", { from: begin(), step }, { signal }), [range], { every });
  const choice = html`<span class="ranges" role="group" aria-label="Range">${Object.keys(RANGES).map((name) => html`<button key=${name} class="small" aria-pressed=${String(name === range)} onClick=${() => change({ range: name === "1h" ? null : name }, { replace: true })}>${name}</button>`)}</span>`;
  return html`<${Panel} id="rates" title="Over time" aside=${choice}><${Loaded} of=${of} lines=${4}>${(series) => html`<${Three} series=${series} />`}<//><//>`;
}

function Three({ series }) {
  const shown = useMemo(() => {
    const perMinute = (values) => values.map((value) => value / (series.step / 60));
    return {
      ends: [
        { name: "succeeded", token: "succeeded", values: perMinute(series.succeeded), area: true },
        { name: "failed", token: "failed", values: perMinute(series.failed), area: true },
        { name: "aborted", token: "aborted", values: perMinute(series.aborted) },
        { name: "submitted", token: "accent", values: perMinute(series.submitted), dash: [4, 3] },
      ],
      times: [
        { name: "wait p50", token: "queued", values: series.wait_p50 },
        { name: "wait p99", token: "queued", values: series.wait_p99, dash: [4, 3] },
        { name: "run p50", token: "running", values: series.run_p50 },
        { name: "run p99", token: "running", values: series.run_p99, dash: [4, 3] },
      ],
      now: [
        { name: "running", token: "running", values: series.running, area: true },
        { name: "queued", token: "queued", values: series.queued, area: true },
        { name: "scheduled", token: "scheduled", values: series.scheduled },
      ],
    };
  }, [series]);
  return html`<div class="charts">
    <div><h3>Ended and submitted <span class="quiet">a minute</span></h3><${Chart} label="Jobs that ended and were submitted, a minute" at=${series.at} series=${shown.ends} format=${rate} /></div>
    <div><h3>Start latency and run time</h3><${Chart} label="Start latency and run time" at=${series.at} series=${shown.times} format=${seconds} log /></div>
    <div><h3>Running and waiting</h3><${Chart} label="Jobs that run and wait" at=${series.at} series=${shown.now} format=${compact} /></div>
  </div>`;
}
