// What a page shows is loaded, shown, and loaded again when it may have changed.
import { html, useEffect, useLayoutEffect, useRef, useState } from "./view.js";
import { connection, onBatch } from "./live.js";

const LEAST_MS = 400, MOST_MS = 5000;
const CALMER = 1.5, CALM_MS = 2000; // while changes go on and on, pauses between looks grow up to so much

/**
 * `load(signal)` gives what is shown; it is asked again when `deps` change, when a batch of events `concerns` it, and every
 * `every` ms (a number, or a function that gives one) while the page is seen. What was shown stays until there is something newer. The more an answer costs, and the longer
 * changes go on, the rarer it is asked for; after a pause the first change is shown at once. What is `first`
 * is asked for before all else of the page.
 */
export function useLoad(load, deps = [], { concerns = null, every = null, skip = false, first = false } = {}) {
  const [state, set] = useState({ data: undefined, error: null, loading: !skip });
  const self = useRef({});
  self.current.load = load;
  self.current.concerns = concerns;
  self.current.every = every;
  (first ? useLayoutEffect : useEffect)(() => {
    if (skip) {
      set({ data: undefined, error: null, loading: false });
      return undefined;
    }
    const control = new AbortController();
    let busy = false, again = false, timer = null, askedAt = 0, cost = 0, pause = LEAST_MS, toldAt = 0, told = false, alive = true;
    async function run() {
      clearTimeout(timer);
      timer = null;
      busy = true;
      again = false;
      askedAt = performance.now();
      if (told) pause = Math.min(CALM_MS, pause * CALMER);
      told = false;
      try {
        const data = await self.current.load(control.signal);
        if (alive) set({ data, error: null, loading: false });
      } catch (error) {
        if (alive && error.name !== "AbortError") set((old) => ({ data: old.data, error, loading: false }));
      }
      cost = performance.now() - askedAt;
      busy = false;
      if (!alive) return;
      if (again) soon();
      else {
        const pace = typeof self.current.every === "function" ? self.current.every() : self.current.every;
        if (pace) timer = setTimeout(() => (document.hidden ? soon(pace) : run()), pace);
      }
    }
    function soon(least = 0) {
      if (busy) {
        again = true;
        return;
      }
      const wait = Math.max(least, askedAt + Math.min(MOST_MS, Math.max(pause, 5 * cost)) - performance.now());
      if (wait <= 0) run();
      else {
        clearTimeout(timer);
        timer = setTimeout(run, wait);
      }
    }
    self.current.soon = soon;
    set((old) => ({ data: old.data, error: null, loading: true }));
    run();
    const off = onBatch((batch) => {
      if (!batch.all && !self.current.concerns?.(batch)) return;
      const at = performance.now();
      if (at - toldAt > pause) pause = LEAST_MS;
      toldAt = at;
      told = true;
      soon();
    });
    const back = connection.watch((how) => { if (how === "live") soon(); });
    return () => {
      alive = false;
      control.abort();
      clearTimeout(timer);
      off();
      back();
    };
  }, [...deps, skip]);
  return { ...state, reload: () => self.current.soon?.() };
}

/** An error where it happened. */
export function Trouble({ error, retry }) {
  if (!error) return null;
  return html`<div class="trouble" role="alert"><span>${error.message}</span>${retry && html`<button class="small" onClick=${retry}>Try again</button>`}</div>`;
}

/** What is loaded, or what is to be said instead. */
export function Loaded({ of, empty, lines = 4, children }) {
  if (of.data === undefined) return of.error ? html`<${Trouble} error=${of.error} retry=${of.reload} />` : html`<${Bones} lines=${lines} />`;
  const shown = typeof children === "function" ? children(of.data) : children;
  return html`${of.error && html`<${Trouble} error=${of.error} retry=${of.reload} />`}${shown || empty || null}`;
}

/** The shape of what is to come. */
export function Bones({ lines = 4 }) {
  return html`<div class="bones" aria-hidden="true">${Array.from({ length: lines }, (_, at) => html`<i key=${at}></i>`)}</div>`;
}
