// What is looked at, kept in the address: it can be sent to somebody, and going back undoes.

const listeners = [];
const NOTHING = { view: "next", locale: "", items: [], target: "", origin: "", k: 10, other: "", text: "", only: "" };

export const state = { ...NOTHING };

const NAMES = { view: "v", locale: "l", target: "t", origin: "o", other: "c", text: "q", only: "in" };

export function onChange(listener) {
  listeners.push(listener);
}

/** Change something; `undoable` changes are steps back in the browser's history. */
export function change(changes, undoable = true) {
  Object.assign(state, changes);
  const address = `#${written()}`;
  const depth = history.state?.depth || 0;
  if (address !== location.hash) {
    if (undoable) history.pushState({ depth: depth + 1 }, "", address);
    else history.replaceState({ depth }, "", address);
  }
  tell(Object.keys(changes));
}

export const canUndo = () => (history.state?.depth || 0) > 0;

export function undo() {
  if (canUndo()) history.back();
}

/** Read the address. */
export function start() {
  read();
  window.addEventListener("popstate", () => {
    read();
    tell(Object.keys(NOTHING));
  });
}

function tell(changed) {
  for (const listener of listeners) listener(new Set(changed));
}

function written() {
  const told = new URLSearchParams();
  for (const [name, short] of Object.entries(NAMES)) if (state[name]) told.set(short, state[name]);
  if (state.k !== NOTHING.k) told.set("k", state.k);
  for (const item of state.items) told.append("s", item);
  return told.toString();
}

function read() {
  const told = new URLSearchParams(location.hash.slice(1));
  Object.assign(state, NOTHING, { items: told.getAll("s").filter(Boolean).slice(0, 1000) });
  for (const [name, short] of Object.entries(NAMES)) if (told.get(short)) state[name] = told.get(short);
  const k = Number.parseInt(told.get("k") || "", 10);
  if (k >= 1 && k <= 100) state.k = k;
}
