// The frame around all pages: who is there, where one can go, whether it is live.
import { html, render, useEffect, useLayoutEffect, useState, useErrorBoundary, useRef, useWatched, kept, keep, cls } from "./parts/view.js";
import { Problem, identify, isAdmin, isKeeper, me, refusal, setToken, token } from "./parts/api.js";
import { again, connection, start } from "./parts/live.js";
import { go, href, place } from "./parts/route.js";
import { Icon } from "./parts/icons.js";
import { useKeys } from "./parts/keys.js";
import { Dialogs, show } from "./parts/dialog.js";
import Overview from "./pages/overview.js";
import Jobs from "./pages/jobs.js";
import Timeline from "./pages/timeline.js";
import Runs from "./pages/runs.js";
import Schedules from "./pages/schedules.js";
import Workers from "./pages/workers.js";
import Owners from "./pages/owners.js";
import Queues from "./pages/queues.js";
import Submit from "./pages/submit.js";
import Settings from "./pages/settings.js";
import Run from "./pages/run.js";
import Job from "./pages/job.js";
import Schedule from "./pages/schedule.js";

// name, path, icon, what is shown, for whom.
const PAGES = [
  { name: "Overview", path: "/", icon: "overview", Shown: Overview },
  { name: "Jobs", path: "/jobs", icon: "jobs", Shown: Jobs },
  { name: "Timeline", path: "/timeline", icon: "timeline", Shown: Timeline },
  { name: "Runs", path: "/runs", icon: "runs", Shown: Runs },
  { name: "Schedules", path: "/schedules", icon: "schedules", Shown: Schedules },
  { name: "Workers", path: "/workers", icon: "workers", Shown: Workers, who: isAdmin },
  { name: "Owners", path: "/owners", icon: "owners", Shown: Owners },
  { name: "Queues", path: "/queues", icon: "queues", Shown: Queues },
  { name: "Submit", path: "/submit", icon: "submit", Shown: Submit },
  { name: "Settings", path: "/settings", icon: "settings", Shown: Settings },
];
const ONE = [
  { under: "/runs/", name: "Run", of: "/runs", Shown: Run },
  { under: "/jobs/", name: "Job", of: "/jobs", Shown: Job },
  { under: "/schedules/", name: "Schedule", of: "/schedules", Shown: Schedule },
];

function find(raw) {
  const path = raw.length > 1 ? raw.replace(/\/$/, "") : raw;
  const page = PAGES.find((each) => each.path === path);
  if (page) return { page, of: page.path, id: null };
  const one = ONE.find((each) => path.startsWith(each.under) && path.length > each.under.length);
  return one ? { page: one, of: one.of, id: decodeURIComponent(path.slice(one.under.length)) } : null;
}

function Page({ found }) {
  const [error, reset] = useErrorBoundary();
  if (error) return html`<div class="trouble" role="alert"><span>This page has failed: ${error.message}</span><button class="small" onClick=${reset}>Show it again</button></div>`;
  return html`<${found.page.Shown} key=${found.id} id=${found.id} />`;
}

function Nav({ of, close }) {
  const shown = PAGES.filter((page) => !page.who || page.who());
  return html`<nav aria-label="Pages"><ul>${shown.map((page) => html`<li key=${page.path}><a href=${href(page.path)} aria-current=${of === page.path ? "page" : null} onClick=${close}><${Icon} name=${page.icon} /><span>${page.name}</span></a></li>`)}</ul></nav>`;
}

function Connection() {
  const how = useWatched(connection);
  const text = { live: "Live", connecting: "Connecting", lost: "Offline", paused: "Paused" }[how];
  return html`<span class=${`connection is-${how}`} title=${how === "live" ? "Changes are shown as they happen" : "Changes are not shown at the moment"}><i></i><span>${text}</span></span>`;
}

function Lost() {
  const how = useWatched(connection);
  const [shown, set] = useState(false);
  useEffect(() => {
    if (how === "live" || how === "paused") set(false);
    if (how !== "lost") return undefined;
    const timer = setTimeout(() => set(true), 300);
    return () => clearTimeout(timer);
  }, [how]);
  return html`<div class="lost" role="status" aria-live="polite">${shown && html`<div><${Icon} name="warn" /><span>The connection to the server is lost; trying again.</span><button class="small" onClick=${again}>Try now</button></div>`}</div>`;
}

function Theme() {
  const [theme, set] = useState(document.documentElement.dataset.theme ?? "auto");
  const next = { auto: "light", light: "dark", dark: "auto" }[theme];
  const turn = () => {
    set(next);
    keep("rota-theme", next === "auto" ? null : next);
    next === "auto" ? delete document.documentElement.dataset.theme : (document.documentElement.dataset.theme = next);
    window.dispatchEvent(new Event("rota-theme"));
  };
  const name = { auto: "the system's theme", light: "light", dark: "dark" };
  return html`<button class="plain" onClick=${turn} aria-label=${`Theme: ${name[theme]}; change to ${name[next]}`} title=${`Theme: ${name[theme]}`}><${Icon} name=${{ auto: "auto", light: "sun", dark: "moon" }[theme]} /></button>`;
}

function Find() {
  const open = (event) => {
    event.preventDefault();
    const text = new FormData(event.target).get("find").trim();
    if (!text) return;
    event.target.reset();
    document.activeElement.blur();
    go(/^[0-9a-f]{8}-[0-9a-f-]{27}$/i.test(text) ? `/jobs/${text}` : `/jobs?handler=${encodeURIComponent(text)}`);
  };
  return html`<form class="find" role="search" onSubmit=${open}><${Icon} name="search" /><input name="find" data-find type="search" autocomplete="off" spellcheck="false" placeholder="Job id or handler" aria-label="Find a job by its id, or those of a handler" /><kbd>/</kbd></form>`;
}

const HELP = [
  ["/", "find"], ["j  k", "next and previous row"], ["enter", "open the row"], ["x", "choose the row"], ["a", "abort or cancel"], ["r", "run again"], ["e", "change"], ["?", "this help"],
  ["g o", "overview"], ["g j", "jobs"], ["g t", "timeline"], ["g f", "runs"], ["g s", "schedules"], ["g w", "workers"], ["g q", "queues"], ["g u", "owners"], ["g n", "submit"], ["g p", "settings"],
];
const PLACES = { "g o": "/", "g j": "/jobs", "g t": "/timeline", "g f": "/runs", "g s": "/schedules", "g w": "/workers", "g q": "/queues", "g u": "/owners", "g n": "/submit", "g p": "/settings" };

function help() {
  const there = new Set(PAGES.filter((page) => !page.who || page.who()).map((page) => page.path));
  const lines = HELP.filter(([keys]) => !PLACES[keys] || there.has(PLACES[keys]));
  show("Keys", () => html`<dl class="keys">${lines.map(([keys, what]) => html`<div key=${keys}><dt>${keys.split(" ").filter(Boolean).map((key) => html`<kbd>${key}</kbd>`)}</dt><dd>${what}</dd></div>`)}</dl>`);
}

function App() {
  const who = useWatched(me);
  const { raw } = useWatched(place);
  const [menu, openMenu] = useState(false);
  const found = find(raw);
  const main = useRef(null);
  useKeys({ "?": help });
  useEffect(() => { document.title = found ? `${found.id ? `${found.page.name} ${found.id.slice(-8)}` : found.page.name} · Rota` : "Rota"; }, [raw]);
  useEffect(() => { openMenu(false); scrollTo(0, 0); }, [found?.page, found?.id]);
  if (who === null) return html`<${SignIn} />`;
  if (who === undefined) return html`<div class="starting"><${Starting} /></div>`;
  return html`
    <a class="skip" href="#main" onClick=${(event) => { event.preventDefault(); main.current.focus(); }}>Skip to the page</a>
    <div class=${cls("frame", menu && "menu-open")}>
      <aside class="side">
        <a class="brand" href=${href("/")}><svg viewBox="0 0 32 32" width="22" height="22" aria-hidden="true"><rect width="32" height="32" rx="8" fill="var(--accent)" /><path d="M16 7a9 9 0 1 1-8.5 6" fill="none" stroke="var(--on-accent)" stroke-width="3" stroke-linecap="round" /><path d="M4.2 14.6 7.6 9.400l4.8 4z" fill="var(--on-accent)" /><circle cx="16" cy="16" r="2.6" fill="var(--on-accent)" /></svg><span>Rota</span></a>
        <${Nav} of=${found?.of} close=${() => openMenu(false)} />
        <div class="side-end">
          <${Connection} />
          <div class="side-tools">
            <${Theme} />
            <button class="plain" onClick=${help} aria-label="Keys" title="Keys (?)"><${Icon} name="help" /></button>
            <a class="plain" href="/docs" target="_blank" rel="noopener" aria-label="The HTTP API" title="The HTTP API"><${Icon} name="docs" /></a>
          </div>
          <p class="who" title=${who.token ? `token ${who.token}` : "no token"}>${who.owner ?? who.role}${who.name ? html` · <span>${who.name}</span>` : ""}</p>
        </div>
      </aside>
      <div class="body">
        <header class="top">
          <button class="plain menu" aria-label="Menu" aria-expanded=${String(menu)} onClick=${() => openMenu(!menu)}><${Icon} name=${menu ? "close" : "menu"} size=${18} /></button>
          <span class="top-name">${found?.page.name ?? "Rota"}</span>
          <${Find} />
          <span class="top-live"><${Connection} /></span>
        </header>
        <${Lost} />
        <main id="main" ref=${main} tabindex="-1">${found ? html`<${Page} key=${found.page.name} found=${found} />` : html`<div class="empty"><h1>There is no such page</h1><p><a href=${href("/")}>The overview</a> is there.</p></div>`}</main>
      </div>
      <div class="shade" onClick=${() => openMenu(false)}></div>
    </div>
    <${Dialogs} />`;
}

function Starting() {
  const [problem, set] = useState(null);
  useLayoutEffect(() => {
    let timer = null;
    const ask = () => identify().catch((error) => { set(error); timer = setTimeout(ask, 2000); });
    ask();
    return () => clearTimeout(timer);
  }, []);
  return problem ? html`<p class="trouble" role="alert">${problem instanceof Problem ? problem.message : String(problem)}; trying again.</p>` : null;
}

function SignIn() {
  const why = useWatched(refusal);
  const [error, fail] = useState(null);
  const enter = async (event) => {
    event.preventDefault();
    const text = new FormData(event.target).get("token").trim();
    setToken(text || null);
    fail(null);
    await identify().catch(fail);
  };
  return html`<main class="sign-in"><form onSubmit=${enter}>
    <svg viewBox="0 0 32 32" width="36" height="36" aria-hidden="true"><rect width="32" height="32" rx="8" fill="var(--accent)" /><path d="M16 7a9 9 0 1 1-8.5 6" fill="none" stroke="var(--on-accent)" stroke-width="3" stroke-linecap="round" /><path d="M4.2 14.6 7.6 9.400l4.8 4z" fill="var(--on-accent)" /><circle cx="16" cy="16" r="2.6" fill="var(--on-accent)" /></svg>
    <h1>This server asks for a token</h1>
    <p>It is kept in this tab, and forgotten when the tab is closed. <code>rota token add</code> makes one.</p>
    ${(why || error) && html`<p class="trouble" role="alert">${error?.message ?? why}</p>`}
    <label>Token<input name="token" type="password" autocomplete="off" spellcheck="false" required autofocus /></label>
    <button class="primary">Show the dashboard</button>
  </form></main>`;
}

const root = document.getElementById("app");
root.replaceChildren();
render(html`<${App} />`, root);
requestAnimationFrame(() => setTimeout(start)); // first what there is, then what changes
