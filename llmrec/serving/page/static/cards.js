// Products as cards, with where they came from and why they are there.

import { el, number, tile, titled } from "./dom.js";
import { language, product } from "./shop.js";
import { add } from "./session.js";

const SOURCES = {
  covisit: "seen together", covisit_near: "seen together", covisit_last: "after the last item",
  covisit_walk: "walk", covisit_walk_wide: "wide walk", item_knn: "similar sessions", vmis_knn: "similar sessions",
  title_vectors: "similar title", text_knn: "similar title", item_vectors: "similar use", popularity: "popular next",
  global_popularity: "popular",
};

/** Brand, price and id in a line; what is not known is left out. */
export function facts(one) {
  return el("p", { class: "facts" },
    one.brand ? el("bdi", { dir: "auto", class: "brand" }, one.brand) : null,
    typeof one.price === "number" ? el("span", { class: "price" }, number(one.price, 2)) : null,
    el("code", { class: "id" }, one.id));
}

function badges(sources) {
  const entries = Object.entries(sources || {}).sort((one, other) => one[1] - other[1]);
  if (!entries.length) return null;
  return el("ul", { class: "badges", "aria-label": "Proposed by" }, entries.map(([name, rank]) =>
    el("li", { title: `rank ${rank} at ${name}` }, `${SOURCES[name] || name.replaceAll("_", " ")} `,
      el("b", {}, `#${rank}`))));
}

/** Reasons in words, and behind them the numbers of the trees. */
export function reasons(one) {
  const parts = [];
  if (one.why?.length) {
    parts.push(el("ul", { class: "why", "aria-label": "Why" }, one.why.map((text) => el("li", {}, text))));
  }
  if (one.reasons?.length) {
    parts.push(el("details", { class: "numbers-of" }, el("summary", {}, "Numbers"),
      el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Numbers" }, el("table", {},
        el("thead", {}, el("tr", {}, ["feature", "value", "adds to the score"].map((name) =>
          el("th", { scope: "col" }, name)))),
        el("tbody", {}, one.reasons.map((reason) => el("tr", {},
          el("th", { scope: "row" }, reason.feature),
          el("td", { class: "r" }, reason.value === null || reason.value === undefined ? "–" : number(reason.value, 3)),
          el("td", { class: "r" }, `${reason.adds > 0 ? "+" : ""}${number(reason.adds, 3)}`))))))));
  }
  return parts;
}

function movement(one, moved) {
  if (!moved) return null;
  const before = moved.get(one.id);
  if (before === undefined) return el("span", { class: "moved new", title: "not in the other list" }, "new");
  const by = before - one.rank;
  if (!by) return el("span", { class: "moved", title: "the same rank in both" }, "=");
  return el("span", { class: `moved ${by > 0 ? "up" : "down"}`, title: `rank ${before} in the other list` },
    `${by > 0 ? "▲" : "▼"} ${Math.abs(by)}`);
}

/** A product of a list. */
export function card(one, { target = "", moved = null } = {}) {
  const text = one.title || one.id;
  return el("li", { class: `card${one.id === target ? " hit" : ""}`, "data-id": one.id },
    el("span", { class: "rank" }, one.rank, movement(one, moved)),
    tile(one),
    el("div", { class: "card-body" },
      el("h3", {}, titled(text, one.title ? language() : null)),
      one.id === target ? el("p", { class: "came" }, "This is what came next.") : null,
      facts(one), badges(one.sources), reasons(one)),
    el("button", { type: "button", class: "plus", "aria-label": `Add ${text} to the session`, title: "Add to the session",
      click: () => add(one.id) }, "+"));
}

/** A product alone, such as the one that came next. */
export function bare(id) {
  const one = product(id);
  return el("div", { class: "card alone" }, tile(one), el("div", { class: "card-body" },
    el("h3", {}, titled(one.title || id, one.title ? language() : null)), facts(one)));
}
