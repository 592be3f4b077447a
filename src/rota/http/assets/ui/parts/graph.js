// Jobs that wait for each other, as a graph: laid out by dagre where it is small enough, by depth where it is not.
import { html, useEffect, useMemo, useRef, useState } from "./view.js";
import { Icon } from "./icons.js";
import { go, href } from "./route.js";
import { jobPath } from "./jobs.js";

const WIDE = 176, HIGH = 40, MOST_LAID_OUT = 400;

/** Columns by how many jobs each has before it. */
function byDepth(nodes, edges) {
  const before = new Map(nodes.map((node) => [node.id, []]));
  for (const edge of edges) before.get(edge.to)?.push(edge.from);
  const depth = new Map();
  const deep = (id) => {
    const stack = [id];
    while (stack.length) {
      const top = stack.at(-1);
      const open = before.get(top).filter((each) => before.has(each) && !depth.has(each));
      if (open.length === 0) {
        depth.set(top, Math.max(-1, ...before.get(top).filter((each) => depth.has(each)).map((each) => depth.get(each))) + 1);
        stack.pop();
      } else stack.push(open[0]);
    }
  };
  for (const node of nodes) if (!depth.has(node.id)) deep(node.id);
  const rows = new Map();
  const places = new Map();
  for (const node of nodes) {
    const column = depth.get(node.id), row = rows.get(column) ?? 0;
    rows.set(column, row + 1);
    places.set(node.id, { x: WIDE / 2 + column * (WIDE + 56), y: HIGH / 2 + row * (HIGH + 10) });
  }
  return places;
}

async function layOut(nodes, edges) {
  if (nodes.length > MOST_LAID_OUT) return byDepth(nodes, edges);
  const { Graph, layout } = await import("../vendor/dagre.esm.js");
  const graph = new Graph();
  graph.setGraph({ rankdir: "LR", nodesep: 14, ranksep: 52 });
  graph.setDefaultEdgeLabel(() => ({}));
  const known = new Set(nodes.map((node) => node.id));
  for (const node of nodes) graph.setNode(node.id, { width: WIDE, height: HIGH });
  for (const edge of edges) if (known.has(edge.from) && known.has(edge.to)) graph.setEdge(edge.from, edge.to);
  layout(graph);
  return new Map(nodes.map((node) => [node.id, graph.node(node.id)]));
}

const line = (a, b) => { const from = a.x + WIDE / 2, to = b.x - WIDE / 2 - 5, half = Math.max(18, (to - from) / 2); return `M${from},${a.y}C${from + half},${a.y} ${to - half},${b.y} ${to},${b.y}`; };

/** `nodes`: `{id, ref, state, handler, kind}`; `edges`: `{from, to, on}`; `here`: the id of the one that the page is about. */
export function Graph({ nodes, edges, here = null, label }) {
  const [places, put] = useState(null);
  const [scale, zoom] = useState(1);
  const box = useRef(null);
  const shape = nodes.map((node) => node.id).join() + edges.length;
  useEffect(() => {
    let alive = true;
    layOut(nodes, edges).then((found) => {
      if (!alive) return;
      put(found);
      const wide = Math.max(...[...found.values()].map((place) => place.x)) + WIDE / 2 + 8;
      zoom(Math.min(1, Math.max(0.45, (box.current.clientWidth - 24) / wide)));
    });
    return () => { alive = false; };
  }, [shape]);
  useEffect(() => {
    if (!places || !here || !box.current) return;
    const at = places.get(here);
    if (at) box.current.scrollTo(at.x * scale - box.current.clientWidth / 2, at.y * scale - box.current.clientHeight / 2);
  }, [places]);
  const size = useMemo(() => (places ? [Math.max(...[...places.values()].map((place) => place.x)) + WIDE / 2 + 2, Math.max(...[...places.values()].map((place) => place.y)) + HIGH / 2 + 2] : [0, 0]), [places]);
  return html`<div class="graph-tools"><button class="small" aria-label="Zoom out" onClick=${() => zoom(Math.max(0.2, scale / 1.25))}>−</button><button class="small" aria-label="Zoom in" onClick=${() => zoom(Math.min(2, scale * 1.25))}>+</button></div>
  <div class="graph" ref=${box} tabindex="0" role="group" aria-label=${label}>${places && html`
    <svg width=${size[0] * scale} height=${size[1] * scale} viewBox=${`-1 -1 ${size[0]} ${size[1]}`}>
      <defs><marker id="tip" viewBox="0 0 8 8" refX="6" refY="4" markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z" fill="var(--line-strong)" /></marker></defs>
      ${edges.map((edge) => { const a = places.get(edge.from), b = places.get(edge.to); return a && b && html`<path key=${`${edge.from} ${edge.to}`} class=${`edge on-${edge.on}`} d=${line(a, b)} marker-end="url(#tip)"><title>${`starts when it is over: ${edge.on}`}</title></path>`; })}
      ${nodes.map((node) => { const at = places.get(node.id); const name = node.ref ?? node.handler ?? node.kind; return at && html`<a key=${node.id} href=${href(jobPath(node.id))} class=${`node is-${node.display_state ?? node.state}${node.id === here ? " here" : ""}`} onClick=${(event) => { event.preventDefault(); go(jobPath(node.id)); }}>
        <rect x=${at.x - WIDE / 2} y=${at.y - HIGH / 2} width=${WIDE} height=${HIGH} rx="8" />
        <svg x=${at.x - WIDE / 2 + 11} y=${at.y - 8} width="16" height="16"><${Icon} name=${node.state} label=${node.state} /></svg>
        <text x=${at.x - WIDE / 2 + 35} y=${at.y + (node.ref && node.handler ? -2 : 4)}>${name.length > 19 ? `${name.slice(0, 18)}…` : name}</text>
        ${node.ref && node.handler && html`<text class="sub" x=${at.x - WIDE / 2 + 35} y=${at.y + 12}>${node.handler.length > 22 ? `${node.handler.slice(0, 21)}…` : node.handler}</text>`}</a>`; })}
    </svg>`}</div>`;
}
