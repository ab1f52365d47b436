// The page: asks what there is, shows the view of the address, and follows it.

import { $, el, fill, problem } from "./dom.js";
import { startNext, showNext } from "./next.js";
import { showPrompts, startPrompts } from "./prompts.js";
import { showRuns, startRuns } from "./runs.js";
import { draw, showSession, startSession } from "./session.js";
import { locales, openShop, shop } from "./shop.js";
import { showSimilar, startSimilar } from "./similar.js";
import { change, onChange, start, state } from "./state.js";

const VIEWS = {
  next: { start: startNext, show: showNext, there: () => true },
  similar: { start: startSimilar, show: showSimilar, there: () => shop.index },
  prompts: { start: startPrompts, show: showPrompts, there: () => shop.prompts.length > 0 },
  runs: { start: startRuns, show: showRuns, there: () => shop.runs },
};
const started = new Set();

function show() {
  const view = VIEWS[state.view]?.there() ? state.view : "next";
  for (const name of Object.keys(VIEWS)) {
    $(`view-${name}`).hidden = name !== view;
    const link = document.querySelector(`[data-view="${name}"]`);
    link.hidden = !VIEWS[name].there();
    if (name === view) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  $("session-part").hidden = !["next", "prompts"].includes(view);
  if (!started.has(view)) {
    VIEWS[view].start();
    started.add(view);
  }
  if (!$("session-part").hidden) showSession();
  VIEWS[view].show();
}

function served() {
  const held = [shop.ranker && `ranker ${shop.model || shop.ranker}`, shop.titles && "titles", shop.index && "similar"];
  const growing = shop.growing ? el("span", { class: "growing" }, `${shop.growing} …`) : null;
  fill($("served"), held.filter(Boolean).join(" · "), growing);
}

/** Look again while something is being made, and show what has come. */
async function grow() {
  const before = JSON.stringify({ ...shop, growing: "" });
  await new Promise((resolve) => setTimeout(resolve, 2000));
  await openShop().catch(() => shop);
  served();
  if (JSON.stringify({ ...shop, growing: "" }) !== before) {
    started.clear();
    show();
  }
  if (shop.growing) grow();
}

async function boot() {
  try {
    await openShop();
  } catch (error) {
    fill($("starting"), problem(error, () => location.reload()));
    return;
  }
  $("starting").hidden = true;
  served();
  start();
  startSession();
  for (const link of document.querySelectorAll("[data-view]")) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      change({ view: link.dataset.view });
    });
  }
  onChange(show);
  if (state.view === "next" && !state.items.length && !state.locale && locales().length) {
    await draw("random", locales()[0]).catch(() => show());
  } else show();
  if (shop.growing) grow();
}

boot();
