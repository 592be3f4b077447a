// Times as people read them: relative, with the moment itself in the viewer's zone a touch away; and durations.
import { html, useState, useEffect, useRef, watched } from "./view.js";
import { clock } from "./api.js";

export const now = () => Date.now() + clock.offset;

/** What is dear to make, some 15 ms each, is made when it is first wanted: not before a page shows something. */
const formatter = (options) => {
  let made = null;
  return (at) => (made ??= new Intl.DateTimeFormat(undefined, options)).format(at);
};
export const moment = formatter({ dateStyle: "medium", timeStyle: "medium" });
export const shortMoment = formatter({ month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
export const timeOfDay = formatter({ hour: "2-digit", minute: "2-digit", second: "2-digit", hour12: false });
export const zoneName = () => Intl.DateTimeFormat().resolvedOptions().timeZone;

/** Seconds as a duration: `85 ms`, `0.15 s`, `4.2 s`, `3m 04s`, `2h 05m`, `3d 4h`. */
export function duration(s) {
  if (s === null || s === undefined || Number.isNaN(s)) return "–";
  if (s < 0) s = 0;
  if (s < 0.0995) return `${s * 1000 < 1 ? (s * 1000).toFixed(1) : Math.round(s * 1000)} ms`;
  if (s < 0.995) return `${s.toFixed(2)} s`;
  if (s < 9.95) return `${s.toFixed(1)} s`;
  if (s < 59.5) return `${Math.round(s)} s`;
  const whole = Math.round(s);
  const two = (n) => String(n).padStart(2, "0");
  if (whole < 3600) return `${Math.floor(whole / 60)}m ${two(whole % 60)}s`;
  if (whole < 86400) return `${Math.floor(whole / 3600)}h ${two(Math.floor((whole % 3600) / 60))}m`;
  return `${Math.floor(whole / 86400)}d ${Math.floor((whole % 86400) / 3600)}h`;
}

/** How long ago a moment was, or in how long it comes. */
export function relative(at) {
  const s = (now() - at) / 1000;
  const far = Math.abs(s);
  if (far < 1) return "now";
  const text = far < 60 ? `${Math.floor(far)} s` : far < 3600 ? `${Math.floor(far / 60)} min` : far < 86400 ? `${Math.floor(far / 3600)} h` : `${Math.floor(far / 86400)} d`;
  return s > 0 ? `${text} ago` : `in ${text}`;
}

const tick = watched(0);
setInterval(() => { if (!document.hidden) tick.set(tick.get() + 1); }, 1000);
document.addEventListener("visibilitychange", () => { if (!document.hidden) tick.set(tick.get() + 1); });

/** A text that is made anew each second, and drawn again only if it has changed. */
export function useTicking(make) {
  const [, redraw] = useState(0);
  const text = make();
  const last = useRef(text);
  last.current = text;
  const current = useRef(make);
  current.current = make;
  useEffect(() => tick.watch(() => { if (current.current() !== last.current) redraw((n) => n + 1); }), []);
  return text;
}

/** A moment; a touch changes between relative and absolute, and a pointer above it is told the moment and its zone. */
export function Time({ at, absolute = false }) {
  const ms = Date.parse(at ?? "");
  const [shown, show] = useState(absolute);
  const text = useTicking(() => (Number.isNaN(ms) ? "–" : shown ? shortMoment(ms) : relative(ms)));
  if (Number.isNaN(ms)) return html`<span class="quiet">–</span>`;
  const turn = (event) => { event.preventDefault(); event.stopPropagation(); show(!shown); };
  const tell = (event) => { event.currentTarget.title = `${moment(ms)} (${zoneName()})`; };
  return html`<time class="time" dateTime=${at} onPointerEnter=${tell} onClick=${turn}>${text}</time>`;
}

/** How long something took, or has taken until now. */
export function Took({ from, to }) {
  const start = Date.parse(from ?? "");
  const end = to ? Date.parse(to) : null;
  const text = useTicking(() => (Number.isNaN(start) ? "–" : duration(((end ?? now()) - start) / 1000)));
  return html`<span class="num">${text}</span>`;
}

/** A number with thin spaces, as in 12 345. */
export const count = (n) => (n === null || n === undefined ? "–" : String(Math.round(n)).replace(/\B(?=(\d{3})+$)/g, "\u202f"));
export const compact = (n) => (n === null || n === undefined ? "–" : n < 10_000 ? count(n) : n < 1e6 ? `${(n / 1000).toFixed(n < 1e5 ? 1 : 0)}k` : `${(n / 1e6).toFixed(n < 1e7 ? 2 : 1)}M`);

const PERIODS = { 1: "a second", 60: "a minute", 3600: "an hour", 86400: "a day" };
/** How many starts a limit allows, in words; null where it has no rate. */
export const rateText = (rate) => (rate ? `${count(rate.n)} ${PERIODS[rate.per] ?? `in ${duration(rate.per)}`}${rate.burst > 1 && rate.burst !== rate.n ? `, ${rate.burst} at once` : ""}` : null);
