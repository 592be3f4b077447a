// Who one is here; and for admins who have shown it: tokens, and the trail of who did what.
import { html, useState, useId } from "../parts/view.js";
import { get, identify, isAdmin, isKeeper, me, part, post, remove, setToken, token } from "../parts/api.js";
import { useLoad, Loaded, Trouble } from "../parts/load.js";
import { Panel, Table } from "../parts/table.js";
import { Icon } from "../parts/icons.js";
import { Time, moment, now, zoneName } from "../parts/time.js";
import { useQuery } from "../parts/route.js";
import { confirm, say, show } from "../parts/dialog.js";
import { Command } from "../parts/json.js";

export default function Settings() {
  const [query, change] = useQuery();
  const tab = query.get("tab") ?? "me";
  const names = [["me", "Me and this server"], isKeeper() && ["tokens", "Tokens"], isKeeper() && ["audit", "Audit"]].filter(Boolean);
  const Shown = (isKeeper() && { tokens: Tokens, audit: Audit }[tab]) || Me;
  return html`<div class="page"><div class="page-head"><h1>Settings</h1></div>
    <div class="tabs" role="tablist" aria-label="Settings">${names.map(([name, text]) => html`<button key=${name} role="tab" aria-selected=${String(tab === name)} onClick=${() => change({ tab: name === "me" ? null : name, before: null })}>${text}</button>`)}</div>
    <${Shown} key=${tab} /></div>`;
}

function Me() {
  const who = me.get();
  const stats = useLoad((signal) => get("/v1/stats", {}, { signal }), [], { every: 10_000, skip: !isAdmin() });
  const [error, fail] = useState(null);
  const id = useId();
  const enter = async (event) => {
    event.preventDefault();
    setToken(new FormData(event.target).get("token").trim() || null);
    await identify().then(() => { say("This tab uses the token now."); location.reload(); }, fail);
  };
  const leave = () => { setToken(null); location.reload(); };
  return html`<div class="columns"><div>
    <${Panel} id="who" title="Who I am here"><dl class="facts"><dt>Role</dt><dd>${who.role}</dd><dt>Sees</dt><dd>${who.owner === null ? "everybody's jobs" : html`the jobs of <b>${who.owner}</b>`}</dd>
      <dt>May submit</dt><dd>${["handlers", ...who.allow].join(", ")}</dd><dt>Token</dt><dd>${who.token ? html`<span class="mono">${who.token}</span> ${who.name}` : "none: this server asks for none here"}</dd></dl>
      <form class="form" onSubmit=${enter}><${Trouble} error=${error} /><div class="form-row"><label for=${id}>${token() ? "Another token" : "Use a token"}</label><span class="with-button"><input id=${id} name="token" type="password" autocomplete="off" required /><button>Use</button></span><p class="hint">It is kept in this tab alone.</p></div>
      ${token() && html`<button type="button" onClick=${leave}><${Icon} name="out" />Forget the token</button>`}</form><//>
    ${!isKeeper() && isAdmin() && html`<${Panel} id="more" title="Tokens and the trail"><div class="form"><p class="quiet">They are for admins who have shown who they are. On the server's machine:</p><${Command} text="rota token add --role admin" /></div><//>`}
  </div><div><${Panel} id="server" title="This server"><dl class="facts"><dt>Version</dt><dd>${who.version}</dd><dt>Address</dt><dd class="mono">${location.origin}</dd>
    ${stats.data && html`<dt>Its clock</dt><dd>${moment(Date.parse(stats.data.now))}</dd><dt>Wakes others by</dt><dd>${stats.data.signals}</dd><dt>Workers</dt><dd>${stats.data.workers} with ${stats.data.slots} slots</dd>`}
    <dt>My time zone</dt><dd>${zoneName()}</dd><dt>API</dt><dd><a href="/docs" target="_blank" rel="noopener">/docs</a></dd></dl><//></div></div>`;
}

function Tokens() {
  const of = useLoad((signal) => get("/v1/tokens", {}, { signal }).then((page) => page.items.reverse()), []);
  const add = async () => { const made = await show("New token", (close) => html`<${NewToken} close=${close} />`); if (made) { of.reload(); show("The new token", () => html`<div class="dialog-text"><p>It is shown this once; what is kept is a hash.</p><${Command} text=${made.token} /></div>`); } };
  const revoke = (one) => confirm({ title: "Revoke this token?", text: html`<p>Whoever uses <b>${one.name || one.id}</b> is let in no more, at once.</p>`, action: "Revoke", danger: true, work: () => remove(`/v1/tokens/${part(one.id)}`).then(of.reload) });
  const state = (one) => (one.revoked_at ? ["canceled", "revoked"] : one.expires_at && Date.parse(one.expires_at) < now() ? ["canceled", "expired"] : ["succeeded", "good"]);
  return html`<div class="page-head"><div class="head-end"><button class="primary" onClick=${add}><${Icon} name="key" />New token</button></div></div><${Loaded} of=${of}>${(rows) => html`<${Table} label="Tokens" rows=${rows} columns=${[
    { name: "name", head: "Token", kind: "title", cell: (one) => html`<span class="strong">${one.name || one.id}</span>` },
    { name: "state", head: "State", cell: (one) => html`<span class=${`state is-${state(one)[0]}`}><${Icon} name=${state(one)[0]} />${state(one)[1]}</span>` },
    { name: "role", head: "Role", cell: (one) => one.role },
    { name: "owner", head: "Owner", cell: (one) => one.owner ?? html`<span class="quiet">all</span>` },
    { name: "allow", head: "Allows", cell: (one) => one.allow.join(", ") || html`<span class="quiet">–</span>` },
    { name: "made", head: "Made", kind: "num", cell: (one) => html`<${Time} at=${one.created_at} />` },
    { name: "until", head: "Until", kind: "num", cell: (one) => (one.expires_at ? html`<${Time} at=${one.expires_at} />` : html`<span class="quiet">for ever</span>`) },
    { name: "do", head: "", kind: "end", cell: (one) => !one.revoked_at && html`<button class="small" onClick=${() => revoke(one)} aria-label=${`Revoke ${one.name || one.id}`}>Revoke</button>` },
  ]} />`}<//>`;
}

function NewToken({ close }) {
  const [error, fail] = useState(null);
  const [role, setRole] = useState("user");
  const id = useId("t");
  const send = async (event) => {
    event.preventDefault();
    const form = new FormData(event.target);
    const body = { role, name: form.get("name").trim() };
    const list = (name) => (form.get(name) ?? "").split(/[\s,]+/).filter(Boolean);
    if (role === "user") Object.assign(body, { owner: form.get("owner").trim() || null, allow: form.getAll("allow") });
    if (role === "worker" && list("queues").length) body.queues = list("queues");
    if (form.get("expires").trim()) body.expires = form.get("expires").trim();
    try { close(await post("/v1/tokens", body)); } catch (problem) { fail(problem); }
  };
  return html`<form onSubmit=${send}><${Trouble} error=${error} />
    <div class="form-row"><label for=${`${id}r`}>Role</label><select id=${`${id}r`} value=${role} onChange=${(event) => setRole(event.target.value)}>${["user", "worker", "admin"].map((each) => html`<option key=${each} value=${each} selected=${each === role}>${each}</option>`)}</select><p class="hint">${{ admin: "May do everything.", user: "Has its owner's jobs alone.", worker: "Can only work." }[role]}</p></div>
    <div class="form-row"><label for=${`${id}n`}>Name</label><input id=${`${id}n`} name="name" maxlength="100" data-autofocus /></div>
    ${role === "user" && html`<div class="form-row"><label for=${`${id}o`}>Owner</label><input id=${`${id}o`} name="owner" required /></div><div class="form-row"><span class="label">Allows</span><span class="checks">${["scripts", "images", "secrets"].map((each) => html`<label key=${each}><input type="checkbox" name="allow" value=${each} /> ${each}</label>`)}</span></div>`}
    ${role === "worker" && html`<div class="form-row"><label for=${`${id}q`}>Queues</label><input id=${`${id}q`} name="queues" placeholder="all" /></div>`}
    <div class="form-row"><label for=${`${id}e`}>Good for</label><input id=${`${id}e`} name="expires" placeholder="ever; 90d, or until a time" /></div>
    <div class="dialog-actions"><button type="button" onClick=${() => close()}>Make none</button><button class="primary">Make</button></div></form>`;
}

function Audit() {
  const [query, change] = useQuery();
  const before = query.get("before");
  const of = useLoad((signal) => get("/v1/audit", { before, limit: 100 }, { signal }), [before], { every: before ? null : 10_000 });
  return html`<${Loaded} of=${of}>${({ items, next }) => (items.length === 0 ? html`<div class="empty"><h2>Nothing was done with a token yet</h2></div>` : html`<${Table} label="Audit" rows=${items} rowKey=${(line) => String(line.seq)} columns=${[
    { name: "action", head: "Action", kind: "title", cell: (line) => html`<span class="strong">${line.action}</span>${line.n > 1 && html` <span class="tag">${line.n} times</span>`}` },
    { name: "target", head: "Of", kind: "wide", cell: (line) => html`<span class="mono clip" title=${line.target}>${line.target}</span>` },
    { name: "status", head: "Status", kind: "num", cell: (line) => html`<span class=${line.status >= 400 ? "is-failed" : ""}>${line.status}</span>` },
    { name: "who", head: "By", cell: (line) => html`${line.role}${line.owner ? ` of ${line.owner}` : ""}` },
    { name: "token", head: "Token", cell: (line) => html`<span class="mono" title=${line.token}>${line.token ? line.token.slice(0, 12) : "–"}</span>` },
    { name: "from", head: "From", cell: (line) => html`<span class="mono">${line.address}</span>` },
    { name: "at", head: "When", kind: "end", cell: (line) => html`<${Time} at=${line.at} absolute />` },
  ]} /><div class="pager">${before && html`<button onClick=${() => change({ before: null })}>The newest</button>`}<span></span>${next && html`<button onClick=${() => change({ before: next })}>Older<${Icon} name="right" /></button>`}</div>`)}<//>`;
}
