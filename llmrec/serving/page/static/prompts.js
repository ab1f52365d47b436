// Prompts side by side: each filled in with the session and, where a model writes titles, answered by it.

import { ask } from "./api.js";
import { asCode } from "./code.js";
import { $, el, fill, number, problem, waiting } from "./dom.js";
import { language, locale, lookUp, product, shop } from "./shop.js";
import { state } from "./state.js";
import { marked } from "./words.js";

const columns = [];
let row = null;
let asking = null;

export function startPrompts() {
  columns.length = 0;
  row = el("div", { class: "prompts" });
  const more = el("button", { type: "button", class: "quiet", click: () => addColumn(columns.length) }, "Add a column");
  fill($("view-prompts"), el("div", { class: "line" }, el("h2", {}, "Prompts side by side"), more), row);
  for (let place = 0; place < 2; place++) addColumn(place, false);

  function addColumn(place, show = true) {
    if (columns.length >= 4) return;
    const prompt = el("select", { change: () => answerOne(column) },
      shop.prompts.map((name) => el("option", { value: name }, name.replace("next_title/", ""))));
    prompt.selectedIndex = Math.min(place, prompt.options.length - 1);
    const k = el("select", { change: () => answerOne(column) }, [1, 2, 3, 5, 10].map((one) =>
      el("option", { value: one, selected: one === 3 }, one)));
    const body = el("div", { class: "prompt-body" });
    const box = el("section", { class: "panel", "aria-label": `Prompt ${place + 1}` },
      el("div", { class: "line" }, el("label", { class: "pick" }, "Prompt ", prompt), el("label", { class: "pick" }, "K ", k),
        el("button", { type: "button", class: "quiet", "aria-label": `Remove column ${place + 1}`, click: () => {
          columns.splice(columns.indexOf(column), 1);
          box.remove();
          more.disabled = columns.length >= 4;
        } }, "×")), body);
    const column = { prompt, k, body };
    columns.push(column);
    row.append(box);
    more.disabled = columns.length >= 4;
    if (show) answerOne(column);
  }
}

export async function showPrompts() {
  asking?.abort();
  asking = new AbortController();
  await Promise.all(columns.map(answerOne));
}

/** Fill a column in; what fails there leaves the others alone. */
async function answerOne(column) {
  const { body, prompt, k } = column;
  if (!state.items.length) {
    fill(body, el("p", { class: "empty" }, "Draw a session, or add products to it."));
    return;
  }
  if (!body.children.length) fill(body, waiting(2));
  const asked = { prompt: prompt.value, items: state.items, locale: locale(), k: Number(k.value) };
  try {
    await lookUp(state.items);
    const { answer } = await ask("/v1/page/prompt", asked, asking?.signal);
    const titles = state.items.map((id) => product(id).title).filter(Boolean).slice(-asked.k);
    fill(body,
      el("h3", {}, "What the model reads"),
      el("pre", { tabindex: "0", class: "prompt-text", lang: language(), dir: "auto", "aria-label": "Filled-in prompt" }, answer.text),
      answer.by ? written(answer) : el("p", { class: "hint" },
        "Nothing answers it: no model that writes titles is served. Give one: ", el("code", {}, "--titles MODEL")),
      asCode("prompt", "/v1/page/prompt", { ...asked, titles }));
  } catch (error) {
    if (error.name !== "AbortError") fill(body, problem(error, () => answerOne(column)));
  }
}

function written(answer) {
  const { after } = marked(answer.last_title, answer.title, language());
  return [el("h3", {}, "What it writes"),
    el("p", { class: "written", lang: language(), dir: "auto" }, answer.title ? after : "Nothing."),
    el("p", { class: "hint" }, `${answer.by}: ${number(answer.read_tokens)} tokens read, ${number(answer.written_tokens)} `
      + `written, ${number(answer.seconds, 2)} s`)];
}
