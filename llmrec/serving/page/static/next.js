// What comes next: the list, another ranker's list beside it, the title, and why a product is not there.

import { ask } from "./api.js";
import { bare, card, reasons } from "./cards.js";
import { asCode } from "./code.js";
import { $, el, fill, number, problem, waiting } from "./dom.js";
import { language, locale, lookUp, product, remember, shop } from "./shop.js";
import { change, state } from "./state.js";
import { marked } from "./words.js";

let asking = null;
const parts = {};

export function startNext() {
  const view = $("view-next");
  parts.list = el("div", { class: "list" });
  parts.beside = el("div", { class: "list", hidden: true });
  parts.title = el("section", { class: "panel", "aria-label": "The next title", hidden: !shop.titles });
  parts.truth = el("section", { class: "panel", "aria-label": "What came next", hidden: true });
  parts.whyNot = whyNot();
  const other = el("select", { id: "other", change: () => change({ other: other.value }) },
    el("option", { value: "" }, "nothing"), shop.others.map((name) => el("option", { value: name }, name)));
  const number_ = el("select", { id: "k", change: () => change({ k: Number(number_.value) }) },
    [5, 10, 20, 50, 100].map((k) => el("option", { value: k }, k)));
  parts.other = other;
  parts.k = number_;
  fill(view,
    el("div", { class: "line" }, el("h2", {}, "What comes next"),
      el("label", { class: "pick" }, "Show ", number_),
      shop.others.length ? el("label", { class: "pick" }, "Beside it ", other) : null,
      parts.overlap = el("p", { class: "hint overlap" })),
    el("div", { class: "columns" }, parts.list, parts.beside,
      el("aside", { class: "side", "aria-label": "More about this session" }, parts.truth, parts.title, parts.whyNot)));
}

/** Ask for the session's list, then for its reasons, its title and the other ranker's list. */
export async function showNext() {
  asking?.abort();
  asking = new AbortController();
  const { signal } = asking;
  parts.k.value = String(state.k);
  parts.other.value = shop.others.includes(state.other) ? state.other : "";
  showTruth();
  if (!shop.ranker) {
    fill(parts.list, el("p", { class: "empty" }, "No ranker is served. Start the page with --ranker DIR."));
    await showTitle(signal);
    return;
  }
  const body = { items: state.items, locale: locale(), k: state.k };
  if (!parts.list.children.length) fill(parts.list, waiting());
  try {
    const quick = await ask("/v1/recommend", body, signal);
    remember(quick.answer.items);
    drawList(parts.list, quick, body, shop.model || shop.ranker);
    await besides(body, signal);  // one after the other: the list is not to wait for what explains it
    const full = await ask("/v1/recommend", { ...body, explain: true }, signal);
    drawList(parts.list, { answer: full.answer, ms: quick.ms }, body, shop.model || shop.ranker);
    await showTitle(signal);
  } catch (error) {
    if (error.name !== "AbortError") fill(parts.list, problem(error, showNext));
  }
}

async function besides(body, signal) {
  const name = parts.other.value;
  parts.beside.hidden = !name;
  $("view-next").classList.toggle("two", Boolean(name));
  parts.overlap.textContent = "";
  parts.moved = null;
  if (!name) return;
  try {
    const told = await ask("/v1/page/beside", { ...body, ranker: name, explain: true }, signal);
    remember(told.answer.items);
    parts.theirs = told;
    const mine = [...parts.list.querySelectorAll("[data-id]")].map((one) => one.dataset.id);
    drawList(parts.beside, told, body, name, new Map(mine.map((id, place) => [id, place + 1])));
    const both = told.answer.items.filter((one) => mine.includes(one.id)).length;
    parts.overlap.textContent = `${both} of ${Math.max(mine.length, told.answer.items.length)} in both lists`;
    parts.moved = new Map(told.answer.items.map((one) => [one.id, one.rank]));
  } catch (error) {
    if (error.name !== "AbortError") fill(parts.beside, problem(error, showNext));
  }
}

function drawList(where, { answer, ms }, body, name, moved = null) {
  const open = new Set([...where.querySelectorAll("details[open]")].map((one) =>
    one.closest("[data-id]")?.dataset.id || "code"));
  const focused = where.contains(document.activeElement) && document.activeElement.closest("[data-id]")?.dataset.id;
  fill(where,
    el("p", { class: "list-head" }, el("b", {}, name), el("span", { class: "hint ms" }, `${number(ms, 0)} ms`)),
    (answer.warnings || []).map((one) => el("p", { class: "warning" }, one.message)),
    answer.items.length ? el("ol", { class: "cards" }, answer.items.map((one) =>
      card(one, { target: state.target, moved })))
      : el("p", { class: "empty" }, "Nothing is recommended for this session."),
    asCode("recommend", "/v1/recommend", body));
  for (const details of where.querySelectorAll("details")) {
    details.open = open.has(details.closest("[data-id]")?.dataset.id || "code");
  }
  if (focused) where.querySelector(`[data-id="${CSS.escape(focused)}"] .plus`)?.focus();
}

function showTruth() {
  parts.truth.hidden = !state.target;
  if (!state.target) return;
  const draw = () => fill(parts.truth, el("h2", {}, "What came next"), bare(state.target),
    shop.ranker ? el("button", { type: "button", class: "quiet more", click: () => parts.askWhy(state.target) },
      "Why is it there, or not?") : null);
  draw();
  lookUp([state.target]).then((news) => news && state.target && draw(), () => {});
}

async function showTitle(signal) {
  if (!shop.titles) return;
  const head = el("h2", {}, "The next title");
  if (!state.items.length) {
    fill(parts.title, head, el("p", { class: "hint" }, "Of a session with products."));
    return;
  }
  const body = { items: state.items, locale: locale() };
  try {
    const { answer, ms } = await ask("/v1/title", body, signal);
    const { before, after } = marked(answer.last_title, answer.title, language());
    const truth = state.target && product(state.target).title;
    fill(parts.title, head,
      el("dl", { class: "titles" },
        el("dt", {}, "Last"), el("dd", { lang: language(), dir: "auto" }, before),
        el("dt", {}, "Predicted"), el("dd", { lang: language(), dir: "auto" }, after),
        truth ? [el("dt", {}, "Came next"), el("dd", { lang: language(), dir: "auto" }, truth)] : null),
      answer.title === answer.last_title ? el("p", { class: "hint" }, "The last title stays: no other is clearly better.")
        : el("p", { class: "hint" }, el("del", {}, "dropped"), " ", el("ins", {}, "new"), " kept"),
      (answer.warnings || []).map((one) => el("p", { class: "warning" }, one.message)),
      el("p", { class: "hint" }, `${answer.by === "selector" ? "Chosen by" : "Written by"} ${answer.model}`
        + (typeof answer.expected_bleu === "number" ? `; expected BLEU ${number(answer.expected_bleu, 1)}` : "") + `; ${number(ms, 0)} ms`),
      asCode("title", "/v1/title", body));
  } catch (error) {
    if (error.name !== "AbortError") fill(parts.title, head, problem(error));
  }
}

/** "Why not this one?", for any product. */
function whyNot() {
  const answer = el("div", { role: "status" });
  const input = el("input", { id: "why-id", type: "text", placeholder: "id of a product", spellcheck: "false",
    maxlength: "256", autocomplete: "off" });
  parts.askWhy = async (id) => {
    input.value = id;
    const body = { items: state.items, locale: locale(), product: id, k: state.k };
    try {
      const told = (await ask("/v1/explain", body)).answer;
      await lookUp([id]);
      fill(answer, bare(id), el("p", { class: told.listed ? "came" : "warning" }, sentence(told.reason)),
        reasons(told), asCode("explain", "/v1/explain", body));
    } catch (error) {
      fill(answer, problem(error));
    }
    answer.scrollIntoView({ block: "nearest" });
  };
  const form = el("form", { class: "add small", submit: (event) => {
    event.preventDefault();
    if (input.value.trim()) parts.askWhy(input.value.trim());
  } }, el("label", { for: "why-id", class: "sr" }, "Id of a product"), input, el("button", { type: "submit" }, "Ask"));
  return el("section", { class: "panel", "aria-label": "Why not this one?", hidden: !shop.ranker },
    el("h2", {}, "Why not this one?"), form, answer);
}

const sentence = (text) => `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
