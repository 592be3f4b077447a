// Pages have addresses of their own below /ui, and filters live in them: a link shows what its sender saw.
import { watched, useWatched } from "./view.js";

const BASE = "/ui";
const read = () => ({ path: decodeURI(location.pathname.slice(BASE.length)) || "/", raw: location.pathname.slice(BASE.length) || "/", search: location.search });

export const place = watched(read());
window.addEventListener("popstate", () => place.set(read()));

/** Go to a page: a path below /ui. */
export function go(to, { replace = false } = {}) {
  history[replace ? "replaceState" : "pushState"](null, "", BASE + to);
  place.set(read());
}

export const href = (to) => BASE + to;

/** The parameters of this page, and a function that changes some of them (empty: takes them away). */
export function useQuery() {
  const { search } = useWatched(place);
  const query = new URLSearchParams(search);
  const change = (changes, options) => {
    const next = new URLSearchParams(location.search);
    for (const [name, value] of Object.entries(changes)) {
      next.delete(name);
      for (const each of Array.isArray(value) ? value : [value]) if (each !== null && each !== undefined && each !== "") next.append(name, each);
    }
    const text = next.toString();
    go(read().raw + (text ? `?${text}` : ""), options);
  };
  return [query, change];
}

// Links of ours change the page without loading it anew.
document.addEventListener("click", (event) => {
  if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const link = event.target.closest?.("a[href]");
  if (!link || link.target || link.hasAttribute("download") || link.origin !== location.origin) return;
  if (link.pathname !== BASE && !link.pathname.startsWith(BASE + "/")) return;
  event.preventDefault();
  go(link.pathname.slice(BASE.length) + link.search);
});
