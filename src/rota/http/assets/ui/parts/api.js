// The one way to the server: /v1, with the token of this tab if there is one. Errors are problems (RFC 9457).
import { watched } from "./view.js";

const TOKEN = "rota-token";

/** What the server refused, or that it could not be reached (`status` 0). */
export class Problem extends Error {
  constructor(status, { title = "", detail = "", field = null, type = "" } = {}) {
    super(status >= 500 && title && detail ? `${title}: ${detail}` : detail || title || `status ${status}`);
    this.status = status;
    this.title = title;
    this.field = field;
    this.kind = type.split(":").pop();
  }
}

/** Who we are (`/v1/me`), or null while the server asks for a token. */
export const me = watched(undefined);
/** Why a token is asked for. */
export const refusal = watched(null);
/** How far this browser's clock is from the server's, in ms: times are told by the server's. */
export const clock = { offset: 0 };

let memory = null; // where a browser keeps nothing
export function token() {
  try { return sessionStorage.getItem(TOKEN) ?? memory; } catch { return memory; }
}
export function setToken(text) {
  memory = text;
  window.rotaAsked.clear(); // with another token, or none
  try { text === null ? sessionStorage.removeItem(TOKEN) : sessionStorage.setItem(TOKEN, text); } catch { /* private */ }
}

export function headers(more = {}) {
  const text = token();
  return text ? { authorization: `Bearer ${text}`, ...more } : more;
}

/** A path with its parameters; lists are repeated, what is empty is left out. */
export function address(path, query = {}) {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    for (const each of Array.isArray(value) ? value : [value]) {
      if (each !== null && each !== undefined && each !== "" && each !== false) parameters.append(name, each);
    }
  }
  const text = parameters.toString();
  return text ? `${path}?${text}` : path;
}

/** One part of a path. */
export const part = (text) => encodeURIComponent(text);

/** What was asked before any module was there (first.js). */
async function early(method, to) {
  const asked = method === "GET" ? window.rotaAsked.get(to) : undefined;
  window.rotaAsked.delete(to);
  const answer = await asked;
  if (answer instanceof Error) throw answer;
  return answer;
}

async function ask(method, path, { query, body, key, signal, raw } = {}) {
  const sent = headers(key ? { "idempotency-key": key } : {});
  if (body !== undefined) sent["content-type"] = "application/json";
  const to = address(path, query);
  let answer;
  // Without credentials a browser does not ask for a name and a password of its own when the server asks for a token.
  try {
    answer = await early(method, to) ?? await fetch(to, {
      method, headers: sent, signal, cache: "no-store", credentials: "omit", body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem(0, { title: "The server cannot be reached", detail: "the server cannot be reached" });
  }
  const date = Date.parse(answer.headers.get("date") ?? "");
  if (date) {
    const off = date + 500 - Date.now();
    clock.offset = Math.abs(off) > 1500 ? off : 0; // the header has whole seconds
  }
  if (answer.ok && raw) return answer;
  const text = await answer.text();
  let value = null;
  try { value = text ? JSON.parse(text) : null; } catch { /* said below */ }
  if (!answer.ok) {
    const problem = new Problem(answer.status, value ?? { detail: text.slice(0, 300) });
    if (answer.status === 401 && path !== "/v1/me") {
      refusal.set(problem.message);
      me.set(null);
    }
    throw problem;
  }
  return value;
}

export const get = (path, query, options) => ask("GET", path, { query, ...options });
export const post = (path, body = {}, options) => ask("POST", path, { body, ...options });
export const patch = (path, body, options) => ask("PATCH", path, { body, ...options });
export const put = (path, body, options) => ask("PUT", path, { body, ...options });
export const remove = (path, options) => ask("DELETE", path, options);

/** Find out who we are. */
export async function identify() {
  try {
    const found = await get("/v1/me");
    refusal.set(null);
    me.set(found);
  } catch (problem) {
    if (problem.status === 401 || problem.status === 403) {
      refusal.set(token() ? problem.message : null);
      me.set(null);
    } else throw problem;
  }
}

export const isAdmin = () => me.get()?.role === "admin";
export const isKeeper = () => me.get()?.keeper === true;
export const may = (what) => me.get()?.allow.includes(what) ?? false;

/** A key that makes a repeated submission do nothing twice. */
export const newKey = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (n) => n.toString(16).padStart(2, "0")).join("");
