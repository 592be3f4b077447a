// Stands in the page itself. Before anything is painted: the theme that was chosen, if one was (else the system's own holds); and
// what the page asks first is asked while its modules are still on their way. parts/api.js takes the answers from `rotaAsked`,
// each once.
try {
  const theme = localStorage.getItem("rota-theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
} catch { /* a browser that keeps nothing has the system's theme */ }
window.rotaAsked = new Map();
for (const path of ["/v1/me", ...(/^\/ui\/?$/.test(location.pathname) ? ["/v1/overview"] : [])]) {
  let token = null;
  try { token = sessionStorage.getItem("rota-token"); } catch { /* it is asked for anew */ }
  const headers = token ? { authorization: `Bearer ${token}` } : {};
  const take = async (answer) => { // read to its end, so that nobody has to wait for that
    const text = await answer.text();
    return { ok: answer.ok, status: answer.status, headers: answer.headers, text: () => text };
  };
  window.rotaAsked.set(path, fetch(path, { headers, cache: "no-store", credentials: "omit" }).then(take).catch((error) => error));
}
