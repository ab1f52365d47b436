// Every answer "as curl, Python, command line", to be copied.

import { wantsKey } from "./api.js";
import { el, fill, say } from "./dom.js";
import { shop } from "./shop.js";

const quoted = (text) => `'${String(text).replaceAll("'", `'\\''`)}'`;
const python = (value) => JSON.stringify(value);  // lists and texts are written alike
const place = (kind, fallback) => shop.places?.[kind] || fallback;

/** The request as curl types it. */
function curl(path, body) {
  const key = wantsKey() ? ` \\\n  -H "Authorization: Bearer $LLMREC_KEY"` : "";
  return `curl ${quoted(location.origin + path)} -H 'Content-Type: application/json'${key} \\\n  -d ${quoted(JSON.stringify(body))}`;
}

/** A session as a file in the official form, made by the shell. */
function sessionFile(items, locale) {
  const ids = items.map((one) => `'${one}'`).join(" ");
  return `printf '%s\\n' 'prev_items,locale' ${quoted(`"[${ids}]",${locale}`)} > session.csv`;
}

const forms = {
  recommend: (path, body) => ({
    curl: curl(path, body),
    Python: `import llmrec\n\nranker = llmrec.load_ranker(${python(place("ranker", "MODEL"))})\n`
      + `ids, scores = ranker.rank_session(${python(body.items)}, ${python(body.locale)}, k=${body.k})`,
    "command line": `${sessionFile(body.items, body.locale)}\nllmrec rank ${shop.ranker} --load `
      + `${quoted(place("ranker", "MODEL"))} --sessions session.csv --k ${body.k} --out list.parquet`,
  }),
  explain: (path, body) => ({
    curl: curl(path, body),
    Python: `import json, urllib.request\n\nasked = urllib.request.Request(${python(location.origin + path)}, `
      + `json.dumps(${python(body)}).encode())\nprint(json.load(urllib.request.urlopen(asked)))`,
    "command line": shop.ranker === "fusion" ? `${sessionFile(body.items, body.locale)}\nllmrec explain `
      + `${quoted(place("ranker", "MODEL"))} --sessions session.csv --k ${body.k} --out reasons.json`
      : "# `llmrec explain` tells the reasons of a fused ranker alone",
  }),
  title: (path, body) => ({
    curl: curl(path, body),
    Python: shop.titles === "writer"
      ? `import llmrec\n\nwriter = llmrec.TitleWriter.load(${python(place("titles", "MODEL"))})\n`
        + `writer.write([${python(body.titles || ["TITLE", "NEXT TITLE"])}], locale=${python(body.locale)})`
      : `import json, urllib.request\n\nasked = urllib.request.Request(${python(location.origin + path)}, `
        + `json.dumps(${python(body)}).encode())\nprint(json.load(urllib.request.urlopen(asked)))`,
    "command line": shop.titles === "selector"
      ? `${sessionFile(body.items, body.locale)}\nllmrec select --load ${quoted(place("titles", "MODEL"))} `
        + `--sessions session.csv --products ${quoted(place("products", "PRODUCTS"))} --out title.parquet`
      : "# a model writes titles for a split of a store: llmrec generate --help",
  }),
  similar: (path, body) => ({
    curl: curl(path, body),
    Python: `import llmrec\n\nproducts = llmrec.SimilarProducts.load(${python(place("index", "INDEX"))})\n`
      + `products.search([${python(body.title || "")}], k=${body.k}${body.locale ? `, locale=${python(body.locale)}` : ""})`,
    "command line": `llmrec similar ${quoted(place("index", "INDEX"))} ${quoted(body.title || "")} --k ${body.k}`
      + (body.locale ? ` --locale ${quoted(body.locale)}` : ""),
  }),
  difference: (path, { first, second }, targets) => ({
    curl: curl(path, { first, second }),
    Python: `import llmrec\n\nfound = llmrec.evaluate(${python(`${first}.parquet`)}, ${python(targets)}, `
      + `compare=${python(`${second}.parquet`)}, by=["locale"])\nprint(found.breakdowns["locale"]["all sessions"].differences)`,
    "command line": `llmrec evaluate ${quoted(`${first}.parquet`)} --targets ${quoted(targets)} `
      + `--compare ${quoted(`${second}.parquet`)} --by locale`,
  }),
  prompt: (path, body) => ({
    curl: curl(path, body),
    Python: `from llmrec.text.prompts import load_prompt\n\nprompt = load_prompt(${python(body.prompt)})\n`
      + `print(prompt.render([{"title": title} for title in ${python(body.titles)}], ${python(body.locale)}))`,
    "command line": `llmrec prompts render ${quoted(body.prompt)} --data STORE --session 0 --k ${body.k}`,
  }),
};

/** A disclosure with the three forms of a request. */
export function asCode(kind, path, body, more = undefined) {
  const made = forms[kind](path, body, more);
  const names = Object.keys(made);
  const box = el("div", { class: "code-box" });
  const show = (name) => {
    const copy = el("button", { type: "button", class: "quiet copy", click: () => copied(made[name]) }, "Copy");
    fill(box,
      el("div", { class: "code-names", role: "group", "aria-label": "Form" }, names.map((one) =>
        el("button", { type: "button", "aria-pressed": String(one === name), click: () => show(one) }, one)), copy),
      el("pre", { tabindex: "0", "aria-label": `As ${name}` }, el("code", {}, made[name])));
  };
  show(names[0]);
  return el("details", { class: "as-code" }, el("summary", {}, "As curl, Python, command line"), box);
}

async function copied(text) {
  try {
    await navigator.clipboard.writeText(text);
    say("Copied");
  } catch {
    say("The browser did not let it be copied; select the text instead");
  }
}
