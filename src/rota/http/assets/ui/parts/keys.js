// The keyboard: one letter each, two for pages (`g j`). Nothing is taken while somebody types.
import { useEffect, useRef } from "./view.js";
import { go } from "./route.js";

export const PAGES = { o: "/", j: "/jobs", t: "/timeline", s: "/schedules", w: "/workers", q: "/queues", u: "/owners", f: "/runs", n: "/submit", p: "/settings" };

const stack = []; // what the page that is shown answers to; the newest first
let prefix = false, prefixTimer = null;

/** Answer keys while a component is there: `{a: function}`. */
export function useKeys(keys) {
  const current = useRef(keys);
  current.current = keys;
  useEffect(() => {
    const entry = (key) => current.current[key];
    stack.unshift(entry);
    return () => stack.splice(stack.indexOf(entry), 1);
  }, []);
}

const rows = () => [...document.querySelectorAll("main [data-row]")].filter((row) => row.offsetParent !== null);
/** The row that has the focus. */
export const rowOf = (element) => element?.closest?.("[data-row]") ?? null;

function move(step) {
  const all = rows();
  if (all.length === 0) return;
  const at = all.indexOf(rowOf(document.activeElement));
  const next = all[at === -1 ? (step > 0 ? 0 : all.length - 1) : Math.min(all.length - 1, Math.max(0, at + step))];
  (next.querySelector("a") ?? next.querySelector("button, input") ?? next).focus();
  next.scrollIntoView({ block: "nearest" });
}

const own = {
  j: () => move(1),
  k: () => move(-1),
  "/": () => {
    const field = document.querySelector("main [data-search]") ?? document.querySelector("[data-find]");
    field?.focus();
    field?.select?.();
  },
};

document.addEventListener("keydown", (event) => {
  if (event.metaKey || event.ctrlKey || event.altKey || event.defaultPrevented) return;
  const typing = event.target.closest?.("input:not([type=checkbox]):not([type=radio]), textarea, select, [contenteditable]");
  if (typing) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if (document.querySelector("dialog[open]")) return;
  const key = event.key;
  if (prefix) {
    prefix = false;
    clearTimeout(prefixTimer);
    if (PAGES[key] !== undefined) {
      event.preventDefault();
      go(PAGES[key]);
    }
    return;
  }
  if (key === "g") {
    prefix = true;
    prefixTimer = setTimeout(() => { prefix = false; }, 1500);
    return;
  }
  for (const entry of stack) {
    const answer = entry(key);
    if (answer) {
      event.preventDefault();
      answer(event);
      return;
    }
  }
  if (own[key]) {
    event.preventDefault();
    own[key]();
  }
});
