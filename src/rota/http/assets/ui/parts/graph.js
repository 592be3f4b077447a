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

const keyOf = (edge) => `${edge.from} ${edge.to}`;

/** Where each job is, and by which points each edge passes the jobs between its ends. */
async function layOut(nodes, edges) {
  const dagre = nodes.length > MOST_LAID_OUT ? null : await import("../vendor/dagre.esm.js").catch(() => null); // null: the server has another version by now
  if (!dagre) return { places: byDepth(nodes, edges), ways: new Map() };
  const graph = new dagre.Graph();
  graph.setGraph({ rankdir: "LR", nodesep: 14, edgesep: 14, ranksep: 52 });
  graph.setDefaultEdgeLabel(() => ({}));
  const known = new Set(nodes.map((node) => node.id));
  for (const node of nodes) graph.setNode(node.id, { width: WIDE, height: HIGH });
  const shown = edges.filter((edge) => known.has(edge.from) && known.has(edge.to));
  for (const edge of shown) graph.setEdge(edge.from, edge.to);
  dagre.layout(graph);
  const places = new Map(nodes.map((node) => [node.id, graph.node(node.id)]));
  const columns = new Set([...places.values()].map((place) => Math.round(place.x)));
  const passed = (edge) => graph.edge(edge.from, edge.to).points.slice(1, -1).filter((point) => columns.has(Math.round(point.x)));
  return { places, ways: new Map(shown.map((edge) => [keyOf(edge), passed(edge)])) };
}

/** From one job to another: level past each column of jobs between them, and bent only where no job is. */
function line(a, b, way) {
  let drawn = `M${a.x + WIDE / 2},${a.y}`, x = a.x + WIDE / 2, y = a.y;
  const bend = (toX, toY) => {
    const half = Math.max(18, (toX - x) / 2);
    drawn += `C${x + half},${y} ${toX - half},${toY} ${toX},${toY}`;
  };
  for (const point of way) {
    bend(point.x - WIDE / 2, point.y);
    x = point.x + WIDE / 2;
    y = point.y;
    drawn += `H${x}`;
  }
  bend(b.x - WIDE / 2 - 5, b.y);
  return drawn;
}

/** `nodes`: `{id, ref, state, handler, kind}`; `edges`: `{from, to, on}`; `here`: the id of the one that the page is about. */
export function Graph({ nodes, edges, here = null, label }) {
  const [{ places, ways }, put] = useState({ places: null, ways: null });
  const [scale, zoom] = useState(1);
  const box = useRef(null);
  const shape = nodes.map((node) => node.id).join() + edges.length;
  useEffect(() => {
    let alive = true;
    layOut(nodes, edges).then((found) => {
      if (!alive) return;
      put(found);
      const wide = Math.max(...[...found.places.values()].map((place) => place.x)) + WIDE / 2 + 8;
      zoom(Math.min(1, Math.max(0.45, (box.current.clientWidth - 24) / wide)));
    });
    return () => { alive = false; };
  }, [shape]);
  useEffect(() => {
    if (!places || !here || !box.current) return;
    const at = places.get(here);
    if (at) box.current.scrollTo(at.x * scale - box.current.clientWidth / 2, at.y * scale - box.current.clientHeight / 2);
  }, [places]);
  const size = useMemo(() => {
    if (!places) return [0, 0];
    const all = [...places.values()], high = [...all, ...[...ways.values()].flat()];
    return [Math.max(...all.map((place) => place.x)) + WIDE / 2 + 2, Math.max(...high.map((place) => place.y)) + HIGH / 2 + 2];
  }, [places]);
  return html`<div class="graph-tools"><button class="small" aria-label="Zoom out" onClick=${() => zoom(Math.max(0.2, scale / 1.25))}>−</button><button class="small" aria-label="Zoom in" onClick=${() => zoom(Math.min(2, scale * 1.25))}>+</button></div>
  <div class="graph" ref=${box} tabindex="0" role="group" aria-label=${label}>${places && html`
    <svg width=${size[0] * scale} height=${size[1] * scale} viewBox=${`-1 -1 ${size[0]} ${size[1]}`}>
      <defs><marker id="tip" viewBox="0 0 8 8" refX="6" refY="4" markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0 8 4 0 8z" fill="var(--line-strong)" /></marker></defs>
      ${edges.map((edge) => { const a = places.get(edge.from), b = places.get(edge.to); return a && b && html`<path key=${keyOf(edge)} class=${`edge on-${edge.on}`} d=${line(a, b, ways.get(keyOf(edge)) ?? [])} marker-end="url(#tip)"><title>${`starts when it is over: ${edge.on}`}</title></path>`; })}
      ${nodes.map((node) => { const at = places.get(node.id); const name = node.ref ?? node.handler ?? node.kind; return at && html`<a key=${node.id} href=${href(jobPath(node.id))} class=${`node is-${node.display_state ?? node.state}${node.id === here ? " here" : ""}`} onClick=${(event) => { event.preventDefault(); go(jobPath(node.id)); }}>
        <rect x=${at.x - WIDE / 2} y=${at.y - HIGH / 2} width=${WIDE} height=${HIGH} rx="8" />
        <svg x=${at.x - WIDE / 2 + 11} y=${at.y - 8} width="16" height="16"><${Icon} name=${node.state} label=${node.state} /></svg>
        <text x=${at.x - WIDE / 2 + 35} y=${at.y + (node.ref && node.handler ? -2 : 4)}>${name.length > 19 ? `${name.slice(0, 18)}…` : name}</text>
        ${node.ref && node.handler && html`<text class="sub" x=${at.x - WIDE / 2 + 35} y=${at.y + 12}>${node.handler.length > 22 ? `${node.handler.slice(0, 21)}…` : node.handler}</text>`}</a>`; })}
    </svg>`}</div>`;
}
