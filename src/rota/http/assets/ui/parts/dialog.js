// Questions that are asked before something is done, and what is said after it.
import { html, useLayoutEffect, useRef, useState, watched, useWatched, useId } from "./view.js";
import { Icon } from "./icons.js";
import { Trouble } from "./load.js";

const open = watched(null);
const said = watched([]);
let number = 0;

/** Show a dialog: `body(close)` is drawn in it; the promise is of what `close` was given. */
export function show(title, body, { wide = false } = {}) {
  return new Promise((done) => open.set({ title, body, wide, id: ++number, close: (value) => { open.set(null); done(value); } }));
}

/** Ask before `work` is done; an error of it is shown in the dialog. Gives true when it was done. */
export function confirm({ title, text, action, danger = false, work }) {
  return show(title, (close) => html`<${Question} text=${text} action=${action} danger=${danger} work=${work} close=${close} />`);
}

function Question({ text, action, danger, work, close }) {
  const [error, fail] = useState(null);
  const [busy, setBusy] = useState(false);
  const run = async (event) => {
    event.preventDefault();
    setBusy(true);
    try {
      await work?.();
      close(true);
    } catch (problem) {
      setBusy(false);
      fail(problem);
    }
  };
  return html`<form onSubmit=${run}>
    <div class="dialog-text">${text}</div>
    <${Trouble} error=${error} />
    <div class="dialog-actions">
      <button type="button" onClick=${() => close(false)}>Keep as it is</button>
      <button class=${danger ? "danger" : "primary"} disabled=${busy} data-autofocus>${busy ? "…" : action}</button>
    </div>
  </form>`;
}

/** Say something, for a few seconds; a screen reader reads it. */
export function say(text, { bad = false, link = null } = {}) {
  const id = ++number;
  said.set([...said.get().slice(-3), { id, text, bad, link }]);
  setTimeout(() => said.set(said.get().filter((one) => one.id !== id)), bad ? 10_000 : 5000);
}

/** Do something, and say how it went. Gives what it gave, or undefined. */
export async function attempt(work, done) {
  try {
    const value = await work();
    if (done) say(typeof done === "function" ? done(value) : done);
    return value;
  } catch (problem) {
    say(problem.message, { bad: true });
    return undefined;
  }
}

export function Dialogs() {
  const shown = useWatched(open);
  const texts = useWatched(said);
  const element = useRef(null);
  const id = useId("dialog");
  useLayoutEffect(() => { // at once: a key that is pressed next is for the page
    const dialog = element.current;
    if (!shown) return undefined;
    const before = document.activeElement;
    if (!dialog.open) dialog.showModal();
    (dialog.querySelector("[data-autofocus]") ?? dialog.querySelector("input, textarea, select, button"))?.focus();
    return () => {
      if (dialog.open) dialog.close();
      before?.focus?.();
    };
  }, [shown?.id]);
  return html`
    <dialog ref=${element} class=${shown?.wide ? "wide" : ""} aria-labelledby=${id} onCancel=${(event) => { event.preventDefault(); shown?.close(undefined); }}
      onClick=${(event) => { if (event.target === element.current) shown?.close(undefined); }}>
      ${shown && html`<div class="dialog" key=${shown.id}>
        <header><h2 id=${id}>${shown.title}</h2><button class="plain" aria-label="Close" onClick=${() => shown.close(undefined)}><${Icon} name="close" /></button></header>
        ${shown.body(shown.close)}
      </div>`}
    </dialog>
    <div class="said" role="status" aria-live="polite">
      ${texts.map((one) => html`<div key=${one.id} class=${one.bad ? "bad" : ""}><span>${one.text}</span>${one.link && html`<a href=${one.link.href}>${one.link.text}</a>`}
        <button class="plain" aria-label="Dismiss" onClick=${() => said.set(said.get().filter((each) => each.id !== one.id))}><${Icon} name="close" size=${14} /></button></div>`)}
    </div>`;
}
