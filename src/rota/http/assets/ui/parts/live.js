// Live by one stream of events a tab (`/v1/events`). It is read with fetch: EventSource can send no token.
//
// Many events become one batch: pages look at what they show once, however much has happened. A tab that nobody looks at lets go
// of its stream after a while, so that many tabs do not use up the connections that a browser has; it catches up when it is seen.
import { watched } from "./view.js";
import { headers, identify, me } from "./api.js";

const FIRST_MS = 5, GAP_MS = 250; // the first change of a burst is shown at once, the others together
const SILENT_MS = 40_000; // the server says something every 15 s
const HIDDEN_MS = 30_000;
const REPLAY_MS = 60_000; // after a longer time it is cheaper to look again than to hear everything
const MOST = 2000; // jobs told apart in a batch

/** "connecting", "live", "lost" or "paused" (nobody looks). */
export const connection = watched("connecting");

const listeners = new Set();
let batch = null, timer = null, flushedAt = 0;
let control = null, running = false, tries = 0, lastId = null, heardAt = 0, hiddenTimer = null, wake = null;

/** Hear batches: `{all, jobs: Map of the last event of each job, kinds: Set}`. With `all` anything may have changed. */
export function onBatch(tell) {
  listeners.add(tell);
  return () => listeners.delete(tell);
}

function note(event) {
  batch ??= { all: false, jobs: new Map(), kinds: new Set() };
  if (event === null || batch.jobs.size >= MOST) batch.all = true;
  else {
    batch.jobs.set(event.job, event);
    batch.kinds.add(event.kind);
  }
  timer ??= setTimeout(flush, Math.max(FIRST_MS, flushedAt + GAP_MS - performance.now()));
}

function flush() {
  timer = null;
  flushedAt = performance.now();
  const told = batch;
  batch = null;
  for (const tell of [...listeners]) tell(told);
}

/** Begin, and go on until the page is left. */
export function start() {
  if (running) return;
  running = true;
  document.addEventListener("visibilitychange", look);
  window.addEventListener("online", () => { if (connection.get() === "lost") again(); });
  run();
}

/** Try again at once. */
export function again() {
  tries = 0;
  control?.abort();
  wake?.();
}

function look() {
  clearTimeout(hiddenTimer);
  if (document.hidden) {
    hiddenTimer = setTimeout(() => {
      connection.set("paused");
      control?.abort();
    }, HIDDEN_MS);
  } else if (connection.get() === "paused") {
    connection.set("connecting");
    wake?.();
  } else if (performance.now() - heardAt > SILENT_MS / 2) again(); // the machine has slept
}

const pause = (ms) => new Promise((done) => {
  const id = ms === null ? null : setTimeout(finish, ms);
  function finish() {
    clearTimeout(id);
    wake = null;
    done();
  }
  wake = finish;
});

async function run() {
  for (;;) {
    if (connection.get() === "paused" || me.get() === null) await pause(me.get() === null ? 1000 : null);
    if (me.get() === null) continue;
    control = new AbortController();
    const watch = setInterval(() => { if (performance.now() - heardAt > SILENT_MS) control.abort(); }, 5000);
    heardAt = performance.now();
    try {
      await read(control.signal);
    } catch (error) {
      if (error.status === 401) await identify().catch(() => null);
    }
    clearInterval(watch);
    if (connection.get() === "paused") continue;
    if (tries > 0 || connection.get() !== "live") connection.set("lost");
    else connection.set("connecting"); // a stream that ended by itself: a server that restarts
    const wait = Math.min(10_000, 500 * 2 ** tries) * (0.7 + 0.6 * Math.random());
    tries += 1;
    await pause(tries === 1 ? 100 : wait);
  }
}

let awayAt = null;

async function read(signal) {
  const away = awayAt !== null && performance.now() - awayAt > REPLAY_MS;
  const resume = lastId !== null && !away ? { "last-event-id": lastId } : {};
  const answer = await fetch("/v1/events?every=0.25", { headers: headers({ accept: "text/event-stream", ...resume }), signal, cache: "no-store", credentials: "omit" });
  if (!answer.ok) throw Object.assign(new Error(), { status: answer.status });
  if (connection.get() !== "live") connection.set("live");
  if (!("last-event-id" in resume)) note(null); // what came before the stream began is seen by looking
  tries = 0;
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      heardAt = performance.now();
      rest += value;
      let end;
      let from = 0;
      while ((end = rest.indexOf("\n\n", from)) !== -1) {
        take(rest.slice(from, end));
        from = end + 2;
      }
      rest = rest.slice(from);
    }
  } finally {
    awayAt = performance.now();
  }
}

function take(frame) {
  let kind = "", data = "", id = null;
  for (const line of frame.split("\n")) {
    if (line.startsWith("data:")) data += line.slice(5);
    else if (line.startsWith("event:")) kind = line.slice(6).trim();
    else if (line.startsWith("id:")) id = line.slice(3).trim();
  }
  if (id !== null) lastId = id;
  if (kind === "reset") note(null);
  else if (data) {
    try { note(JSON.parse(data)); } catch { note(null); }
  }
}
