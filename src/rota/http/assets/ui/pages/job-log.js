// A job's output as it comes: asked for by the last piece that is known, once a second while the job runs.
import { html, useEffect, useLayoutEffect, useRef, useState } from "../parts/view.js";
import { get, part } from "../parts/api.js";
import { Trouble } from "../parts/load.js";
import { OVER } from "../parts/icons.js";

const MOST = 5000; // pieces kept on the page
const LOOK_MS = 1000;

export function Log({ job }) {
  const [pieces, set] = useState(null);
  const [error, fail] = useState(null);
  const [cutOff, cut] = useState(false);
  const box = useRef(null);
  const bottom = useRef(true);
  const over = OVER.has(job.state);
  const last = useRef(null);
  useEffect(() => { last.current = null; set(null); }, [job.id]);
  useEffect(() => {
    const control = new AbortController();
    let timer = null;
    async function look() {
      try {
        let page;
        do {
          page = await get(`/v1/jobs/${part(job.id)}/logs`, { after: last.current, limit: 1000 }, { signal: control.signal });
          const items = page.items;
          if (items.length) last.current = `${items.at(-1).attempt}.${items.at(-1).n}`;
          set((old) => {
            const all = [...(old ?? []), ...items];
            if (all.length > MOST) cut(true);
            return all.slice(-MOST);
          });
        } while (page.next);
        fail(null);
      } catch (problem) {
        if (problem.name === "AbortError") return;
        fail(problem);
      }
      if (!over) timer = setTimeout(look, document.hidden ? 5 * LOOK_MS : LOOK_MS);
    }
    look();
    return () => {
      control.abort();
      clearTimeout(timer);
    };
  }, [job.id, over]);
  useLayoutEffect(() => { if (bottom.current && box.current) box.current.scrollTop = box.current.scrollHeight; }, [pieces]);
  const scrolled = () => { const { scrollTop, scrollHeight, clientHeight } = box.current; bottom.current = scrollHeight - scrollTop - clientHeight < 30; };
  if (error && !pieces) return html`<${Trouble} error=${error} />`;
  if (pieces === null) return html`<p class="quiet pad">Looking …</p>`;
  if (pieces.length === 0) return html`<p class="quiet pad">${over ? "It has written nothing." : "It has written nothing yet."}</p>`;
  let attempt = pieces[0].attempt;
  const several = pieces.at(-1).attempt !== attempt || attempt > 1;
  return html`<div class="log" ref=${box} onScroll=${scrolled} tabindex="0" role="log" aria-label="Output" aria-live="off">
    ${cutOff && html`<div class="attempt-mark">only the newest pieces are shown</div>`}
    ${pieces.map((piece, at) => {
      const mark = several && (at === 0 || piece.attempt !== pieces[at - 1].attempt);
      return html`${mark && html`<div class="attempt-mark" key=${`a${piece.attempt}`}>attempt ${piece.attempt}</div>`}<div key=${`${piece.attempt}.${piece.n}`} class=${piece.stream === "stderr" ? "stderr" : piece.stream === "log" ? "log-line" : ""}>${piece.text.replace(/\n$/, "")}</div>`;
    })}</div>`;
}
