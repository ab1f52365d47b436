// Products like a title or like a product, in one locale or in all of them.

import { ask } from "./api.js";
import { asCode } from "./code.js";
import { $, el, fill, later, number, problem, say, tile, titled, waiting } from "./dom.js";
import { language, locales, remember } from "./shop.js";
import { add } from "./session.js";
import { change, state } from "./state.js";

let asking = null;
const parts = {};

export function startSimilar() {
  parts.text = el("input", { id: "like", type: "search", maxlength: "1000", spellcheck: "false", autocomplete: "off",
    placeholder: "A title, or words of one, in any language" });
  parts.only = el("select", { id: "only", change: () => change({ only: parts.only.value }) },
    el("option", { value: "" }, "all locales"), locales().map((one) => el("option", { value: one }, one)));
  parts.found = el("div", { class: "list", "aria-live": "off" });
  const look = () => change({ text: parts.text.value.trim() }, false);
  parts.text.addEventListener("input", later(look, 150));
  fill($("view-similar"),
    el("div", { class: "line" }, el("h1", {}, "Similar products")),
    el("form", { class: "add", role: "search", submit: (event) => { event.preventDefault(); look(); } },
      el("label", { for: "like", class: "sr" }, "Title to look for"), parts.text,
      el("button", { type: "submit" }, "Find")),
    el("div", { class: "line" }, el("label", { class: "pick" }, "Only ", parts.only)),
    parts.found);
}

export async function showSimilar() {
  if (document.activeElement !== parts.text) parts.text.value = state.text;
  parts.only.value = locales().includes(state.only) ? state.only : "";
  asking?.abort();
  if (!state.text) {
    fill(parts.found, el("p", { class: "empty" }, "Type a title: products like it are found in every language of the shop."));
    return;
  }
  asking = new AbortController();
  const body = { title: state.text, locale: parts.only.value || null, k: 20 };
  if (!parts.found.querySelector(".cards")) fill(parts.found, waiting(3));
  try {
    const { answer, ms } = await ask("/v1/similar", body, asking.signal);
    for (const one of answer.items) remember([{ id: one.id, title: one.title }], one.locale);
    fill(parts.found,
      el("p", { class: "list-head" }, el("b", {}, `${answer.items.length} products`),
        el("span", { class: "hint ms" }, `${number(ms, 0)} ms`)),
      answer.items.length ? el("ol", { class: "cards" }, answer.items.map(hit))
        : el("p", { class: "empty" }, "Nothing is like this."),
      asCode("similar", "/v1/similar", body));
  } catch (error) {
    if (error.name !== "AbortError") fill(parts.found, problem(error, showSimilar));
  }
}

function hit(one) {
  const text = one.title || one.id;
  return el("li", { class: "card", "data-id": one.id },
    el("span", { class: "rank" }, one.rank), tile(one),
    el("div", { class: "card-body" }, el("h3", {}, titled(text, language(one.locale))),
      el("p", { class: "facts" }, el("span", { class: "place" }, one.locale),
        el("span", { title: "cosine" }, `${number(100 * one.score, 0)} % alike`), el("code", { class: "id" }, one.id),
        el("button", { type: "button", class: "quiet more", click: () => change({ text }) }, "More like this"))),
    el("button", { type: "button", class: "plus", "aria-label": `Start a session with ${text}`, title: "Start a session with it",
      click: () => {
        change({ view: "next", locale: one.locale, items: [], target: "", origin: "" });
        add(one.id);
        say(`A session with ${text}`);
      } }, "+"));
}
