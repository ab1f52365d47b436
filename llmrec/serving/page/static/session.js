// The session as chips: add, remove, put in another order, undo.

import { ask } from "./api.js";
import { $, el, fill, later, say, tile, titled } from "./dom.js";
import { pasted } from "./paste.js";
import { language, locale, locales, lookUp, product, remember, shop } from "./shop.js";
import { canUndo, change, state, undo } from "./state.js";

const name = (id) => product(id).title || id;
let seed = Math.floor(Math.random() * 1e9);

export function add(id) {
  change({ items: [...state.items, id], target: "", origin: "" });
  say(`Added ${name(id)}`);
}

export function remove(place) {
  const gone = state.items[place];
  change({ items: state.items.filter((_, at) => at !== place), target: "", origin: "" });
  say(`Removed ${name(gone)}`);
  focusChip(Math.min(place, state.items.length - 1));
}

function move(from, to) {
  if (to < 0 || to >= state.items.length || from === to) return;
  const items = [...state.items];
  items.splice(to, 0, ...items.splice(from, 1));
  change({ items, target: "", origin: "" });
  say(`${name(items[to])} is now product ${to + 1} of ${items.length}`);
  focusChip(to);
}

function focusChip(place) {
  const chips = $("chips").querySelectorAll(".chip-main");
  (chips[place] || $("text")).focus();
}

export async function draw(kind, place = locale()) {
  seed += 1;
  const { answer } = await ask("/v1/page/session", { locale: place || null, kind, seed });
  const changes = { items: answer.items, locale: answer.locale, target: answer.target || "", origin: answer.origin };
  change(changes, state.items.length > 0);
  say(`A session of ${answer.items.length} products: ${answer.origin}`);
}

/** Draw what is there of the session; titles follow as soon as they are known. */
export async function showSession() {
  drawChips();
  $("undo").disabled = !canUndo();
  $("clear").disabled = !state.items.length;
  $("locale").value = locale();
  $("origin").textContent = state.origin || (state.items.length ? "" : "Empty: draw one, or add products.");
  if (await lookUp([...state.items, ...(state.target ? [state.target] : [])])) drawChips();
}

function drawChips() {
  const focused = [...$("chips").querySelectorAll("button")].indexOf(document.activeElement);
  fill($("chips"), state.items.map(chip));
  if (focused >= 0) $("chips").querySelectorAll("button")[focused]?.focus();
}

function chip(id, place) {
  const one = product(id);
  const text = one.title || id;
  const last = place === state.items.length - 1;
  const keys = (event) => {
    const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (step && event.altKey) move(place, place + step);
    else if (step) focusChip(Math.max(0, Math.min(state.items.length - 1, place + step)));
    else if (event.key === "Delete" || event.key === "Backspace") remove(place);
    else return;
    event.preventDefault();
  };
  const drag = {
    draggable: "true",
    dragstart: (event) => event.dataTransfer.setData("text/x-place", String(place)),
    dragover: (event) => event.preventDefault(),
    drop: (event) => {
      event.preventDefault();
      const from = Number.parseInt(event.dataTransfer.getData("text/x-place"), 10);
      if (Number.isInteger(from)) move(from, place);
    },
  };
  return el("li", { class: `chip${last ? " last" : ""}${one.known === false ? " unknown" : ""}`, ...drag },
    el("button", { type: "button", class: "chip-main", keydown: keys, title: one.title ? id : null },
      tile(one), el("span", { class: "chip-text" }, titled(text, one.title ? language() : null)),
      one.known === false ? el("span", { class: "note" }, "not known") : null),
    el("span", { class: "chip-do" },
      el("button", { type: "button", disabled: place === 0, "aria-label": `Move ${text} earlier`,
        click: () => move(place, place - 1) }, "‹"),
      el("button", { type: "button", disabled: last, "aria-label": `Move ${text} later`,
        click: () => move(place, place + 1) }, "›"),
      el("button", { type: "button", "aria-label": `Remove ${text}`, click: () => remove(place) }, "×")));
}

export function startSession() {
  fill($("locale"), locales().map((one) => el("option", { value: one }, one)));
  $("locale").addEventListener("change", () => change({ locale: $("locale").value, target: "", origin: "" }));
  $("undo").addEventListener("click", undo);
  $("clear").addEventListener("click", () => change({ items: [], target: "", origin: "" }));
  for (const button of document.querySelectorAll("[data-draw]")) {
    button.addEventListener("click", async () => {
      try {
        await draw(button.dataset.draw);
      } catch (error) {
        $("origin").textContent = error.message;
      }
    });
  }
  document.addEventListener("keydown", (event) => {
    const typing = /^(INPUT|TEXTAREA|SELECT)$/.test(document.activeElement?.tagName || "");
    if ((event.ctrlKey || event.metaKey) && event.key === "z" && !typing) {
      event.preventDefault();
      undo();
    }
  });
  startAdding();
}

/** The field that takes whatever people have: ids are added, words are looked for. */
function startAdding() {
  const text = $("text");
  const list = $("found");
  let asking = null;
  let hits = [];
  let at = -1;

  const close = () => {
    list.hidden = true;
    at = -1;
    text.setAttribute("aria-expanded", "false");
    text.removeAttribute("aria-activedescendant");
  };
  const take = (id) => {
    text.value = "";
    close();
    add(id);
  };
  const show = (found) => {
    hits = found;
    at = -1;
    fill(list, hits.map((one, place) => el("li", { role: "option", id: `found-${place}`, "aria-selected": "false",
      mousedown: (event) => { event.preventDefault(); take(one.id); } },
      tile(one), el("span", {}, titled(one.title || one.id, language()), el("small", {}, one.id)))));
    if (!hits.length) fill(list, el("li", { class: "none", role: "option", "aria-disabled": "true" }, "No product has these words."));
    list.hidden = false;
    text.setAttribute("aria-expanded", "true");
  };
  const look = async () => {
    const words = text.value.trim();
    asking?.abort();
    if (words.length < 2 || pasted(words)) return close();
    asking = new AbortController();
    try {
      const { answer } = await ask("/v1/page/find", { text: words.slice(0, 200), locale: locale() || null }, asking.signal);
      remember(answer.products);
      show(answer.products);
    } catch (error) {
      if (error.name !== "AbortError") fill($("origin"), document.createTextNode(error.message));
    }
  };
  const soon = later(look, 120);
  const step = (by) => {
    if (list.hidden || !hits.length) return;
    at = (at + by + hits.length) % hits.length;
    [...list.children].forEach((one, place) => one.setAttribute("aria-selected", String(place === at)));
    text.setAttribute("aria-activedescendant", `found-${at}`);
  };

  text.addEventListener("input", soon);
  text.addEventListener("blur", () => setTimeout(close, 100));
  text.addEventListener("keydown", (event) => {
    if (event.key === "ArrowDown") step(1);
    else if (event.key === "ArrowUp") step(-1);
    else if (event.key === "Escape") close();
    else return;
    event.preventDefault();
  });
  text.addEventListener("paste", (event) => {
    const told = event.clipboardData?.getData("text") || "";
    if (!told.includes("\n") && told.length < 4000) return;  // a field of one line would lose where lines end
    event.preventDefault();
    text.value = "";
    if (!takePasted(told)) text.value = told.slice(0, 200).replace(/\s+/g, " ");
  });
  $("add").addEventListener("submit", async (event) => {
    event.preventDefault();
    if (at >= 0 && hits[at]) return take(hits[at].id);
    if (takePasted(text.value)) return undefined;
    await look();
    if (hits.length) take(hits[0].id);
    return undefined;
  });

  function takePasted(told) {
    const found = pasted(told);
    if (!found) return false;
    text.value = "";
    close();
    const place = found.locale in shop.locales ? found.locale : locale();
    const items = place === locale() && !found.target ? [...state.items, ...found.items] : found.items;
    change({ items: items.slice(0, 1000), locale: place, target: found.target, origin: "" });
    say(`Added ${found.items.length} products`);
    return true;
  }
}
