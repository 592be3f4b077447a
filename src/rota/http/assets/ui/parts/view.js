// What every page is made of: Preact's hooks, htm's templates, and values that several parts watch.
import { html, render, h, Component, createContext, useState, useEffect, useLayoutEffect, useRef, useMemo, useCallback, useContext, useErrorBoundary } from "../vendor/preact-htm.module.js";

export { html, render, h, Component, createContext, useState, useEffect, useLayoutEffect, useRef, useMemo, useCallback, useContext, useErrorBoundary };

/** A value that parts of the page watch. */
export function watched(value) {
  const watchers = new Set();
  return {
    get: () => value,
    set(next) {
      if (next === value) return;
      value = next;
      for (const tell of [...watchers]) tell(value);
    },
    watch(tell) {
      watchers.add(tell);
      return () => watchers.delete(tell);
    },
  };
}

/** The value now; the component is drawn again when what `pick` takes of it changes. */
export function useWatched(source, pick = (value) => value) {
  const [, redraw] = useState(0);
  const picked = pick(source.get());
  const last = useRef(picked);
  last.current = picked;
  useLayoutEffect(() => {
    const look = () => { if (pick(source.get()) !== last.current) redraw((n) => n + 1); };
    look(); // it may have changed between drawing and now
    return source.watch(look);
  }, [source]);
  return picked;
}

/** Class names, of those that hold. */
export const cls = (...names) => names.filter(Boolean).join(" ");

let counter = 0;
/** An id for a label and what it names. */
export function useId(prefix = "i") {
  return useState(() => `${prefix}${++counter}`)[0];
}

/** Keep a setting in the browser; nothing is lost where it keeps none. */
export function kept(name, fallback) {
  let text = null;
  try { text = localStorage.getItem(name); } catch { /* private */ }
  return text ?? fallback;
}
export function keep(name, value) {
  try { value === null ? localStorage.removeItem(name) : localStorage.setItem(name, value); } catch { /* private */ }
}
