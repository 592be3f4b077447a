// Icons are drawn here: nothing is loaded. Each state has a shape of its own, so that nobody needs its colour.
import { html } from "./view.js";

const line = (d, more = null) => html`<g fill="none" stroke="currentColor" stroke-width="1.6" stroke-linecap="round" stroke-linejoin="round"><path d=${d} />${more}</g>`;
const ring = html`<circle cx="8" cy="8" r="6" fill="none" stroke="currentColor" stroke-width="1.6" />`;
const disc = html`<circle cx="8" cy="8" r="7" fill="currentColor" />`;
const cut = (d) => html`<path d=${d} fill="none" stroke="var(--surface)" stroke-width="1.8" stroke-linecap="round" stroke-linejoin="round" />`;

const DRAWN = {
  overview: () => line("M2.5 9.5 5.5 6l3 3 5-6M2.5 13.5h11"),
  jobs: () => line("M2.5 4h11M2.5 8h11M2.5 12h7"),
  timeline: () => line("M2.5 4h5M5 8h6.5M9 12h4.5"),
  runs: () => line("M5.8 4h1.7c1.5 0 2 .8 2 2v4c0 1.2.5 2 2 2M9.5 8H4", html`<circle cx="4" cy="4" r="1.7" /><circle cx="12.5" cy="12" r="1.5" /><circle cx="12" cy="5" r="1.7" />`),
  schedules: () => line("M8 4.500V8l2.3 1.6", html`<circle cx="8" cy="8" r="5.8" />`),
  workers: () => line("M2.5 3.500h11v4h-11zM2.5 9.500h11v3h-11zM5 5.500h.01M5 11h.01"),
  queues: () => line("M2.5 8h3M10.5 8h3M5.5 4.500h5v7h-5z"),
  owners: () => line("M2.5 13c.4-2.6 2.1-3.8 4-3.800s3.6 1.2 4 3.800M11 9c1.6.2 2.4 1.2 2.7 2.8", html`<circle cx="6.5" cy="5.2" r="2.4" /><path d="M10.3 3.200a2 2 0 0 1 0 3.8" />`),
  submit: () => line("M8 3v10M3 8h10"),
  settings: () => line("M2.5 5h6M12 5h1.500M2.5 11H4M7.5 11h6", html`<circle cx="10.2" cy="5" r="1.7" /><circle cx="5.7" cy="11" r="1.7" />`),
  search: () => line("m10.3 10.3 3.2 3.2", html`<circle cx="7" cy="7" r="4.3" />`),
  sun: () => line("M8 1.800v1.400M8 12.800v1.400M1.8 8h1.400M12.8 8h1.400M3.6 3.600l1 1M11.4 11.400l1 1M12.4 3.600l-1 1M4.6 11.400l-1 1", html`<circle cx="8" cy="8" r="2.8" />`),
  moon: () => line("M13 9.600A5.6 5.6 0 0 1 6.4 3 5.6 5.6 0 1 0 13 9.600z"),
  auto: () => html`<circle cx="8" cy="8" r="5.6" fill="none" stroke="currentColor" stroke-width="1.6" /><path d="M8 2.400a5.6 5.6 0 0 1 0 11.200z" fill="currentColor" />`,
  menu: () => line("M2.5 4.500h11M2.5 8h11M2.5 11.500h11"),
  close: () => line("m4 4 8 8M12 4l-8 8"),
  right: () => line("m6 3.5 4.5 4.500L6 12.5"),
  left: () => line("M10 3.5 5.5 8l4.5 4.5"),
  down: () => line("m3.5 6 4.5 4.500L12.5 6"),
  copy: () => line("M5.5 5.500h7v7h-7zM3.5 10.500v-7h7"),
  stop: () => html`<rect x="3.5" y="3.5" width="9" height="9" rx="1.5" fill="currentColor" />`,
  retry: () => line("M12.8 8a4.8 4.8 0 1 1-1.5-3.500M12.8 2.500v2.500h-2.5"),
  pause: () => line("M5.5 3.500v9M10.5 3.500v9"),
  play: () => html`<path d="M5 3.300v9.400a.6.6 0 0 0 .9.500l7.2-4.700a.6.6 0 0 0 0-1L5.9 2.800a.6.6 0 0 0-.9.500z" fill="currentColor" />`,
  edit: () => line("m3 13 .6-2.6 7-7a1.4 1.4 0 0 1 2 2l-7 7z"),
  trash: () => line("M3 4.500h10M6.5 4.500v-1.500h3v1.500M4.5 4.500l.5 8.500h6l.5-8.5"),
  key: () => line("m7.3 8.7 5.2-5.200M10.5 5.500l1.8 1.8", html`<circle cx="5.3" cy="10.7" r="2.8" />`),
  help: () => line("M6.3 6.200a1.8 1.8 0 1 1 2.5 1.700c-.6.3-.8.6-.8 1.300M8 11.300h.01", html`<circle cx="8" cy="8" r="6" />`),
  warn: () => line("M8 3 2.5 12.800h11zM8 6.800v2.700M8 11.300h.01"),
  out: () => line("M9 3.500h3.500v9H9M3 8h6M6.5 5.5 9 8l-2.5 2.5"),
  docs: () => line("M4 2.500h5.500L12.5 5.500v8H4zM9 2.500V6h3.5"),
  // states
  succeeded: () => html`${disc}${cut("m5 8.3 2.2 2.100L11.2 6")}`,
  failed: () => html`${disc}${cut("m5.5 5.5 5 5M10.5 5.500l-5 5")}`,
  aborted: () => html`<path d="M5.3 1.500h5.400l3.8 3.800v5.400l-3.8 3.800H5.300l-3.8-3.800V5.300z" fill="currentColor" />${cut("M5.2 8h5.6")}`,
  canceled: () => html`${ring}${line("m4.2 11.8 7.6-7.6")}`,
  running: () => html`<circle cx="8" cy="8" r="6" fill="none" stroke="currentColor" stroke-width="1.6" opacity=".3" /><path class="turn" d="M8 2a6 6 0 0 1 6 6" fill="none" stroke="currentColor" stroke-width="1.9" stroke-linecap="round" />`,
  aborting: () => html`<path d="M5.5 2h5l3.5 3.500v5L10.5 14h-5L2 10.500v-5z" fill="none" stroke="currentColor" stroke-width="1.6" /><path d="M5.5 8h5" stroke="currentColor" stroke-width="1.6" />`,
  queued: () => html`<circle cx="3.5" cy="8" r="1.6" fill="currentColor" /><circle cx="8" cy="8" r="1.6" fill="currentColor" /><circle cx="12.5" cy="8" r="1.6" fill="currentColor" />`,
  scheduled: () => html`${ring}${line("M8 4.800V8l2.2 1.5")}`,
  retrying: () => line("M12.8 8a4.8 4.8 0 1 1-1.5-3.500M12.8 2.500v2.500h-2.5"),
  blocked: () => html`<circle cx="8" cy="8" r="6" fill="none" stroke="currentColor" stroke-width="1.6" stroke-dasharray="2.6 2.1" />${line("M6.5 6v4M9.5 6v4")}`,
};

/** An icon; with a `label` it says something that no text beside it does. */
export function Icon({ name, label, size = 16 }) {
  return html`<svg class=${`icon icon-${name}`} viewBox="0 0 16 16" width=${size} height=${size} role=${label ? "img" : null} aria-label=${label ?? null} aria-hidden=${label ? null : "true"} focusable="false">${(DRAWN[name] ?? DRAWN.help)()}</svg>`;
}

export const STATES = ["blocked", "scheduled", "queued", "running", "succeeded", "failed", "aborted", "canceled"];
export const OVER = new Set(["succeeded", "failed", "aborted", "canceled"]);

/** A state: its shape, its colour and its name. */
export function State({ of, quiet = false }) {
  return html`<span class=${`state is-${of}${quiet ? " quiet-state" : ""}`}><${Icon} name=${of} /><span>${of}</span></span>`;
}
