// Runs of a folder: what they scored, the reports beside them, and two of them compared.

import { ask } from "./api.js";
import { asCode } from "./code.js";
import { $, el, fill, number, problem, waiting } from "./dom.js";

const FIRST = { ranking: ["mrr@100", "recall@100", "ndcg@100"], titles: ["bleu", "exact_match"] };
const NAMES = { "mrr@100": "MRR@100", "recall@100": "Recall@100", "ndcg@100": "NDCG@100", bleu: "BLEU", exact_match: "Exact match" };
const ALL = "all sessions";
let told = null;

export function startRuns() {
  fill($("view-runs"), waiting(3));
}

export async function showRuns() {
  try {
    told = (await ask("/v1/page/runs")).answer;
  } catch (error) {
    fill($("view-runs"), problem(error, showRuns));
    return;
  }
  const kinds = Object.keys(FIRST).filter((kind) => told.runs.some((one) => one.kind === kind));
  fill($("view-runs"), el("div", { class: "line" }, el("h1", {}, "Runs"), el("p", { class: "hint" }, told.folder)),
    kinds.length ? kinds.map(section) : el("p", { class: "empty" },
      "No run of this folder has been scored. Score one: llmrec evaluate RUN --targets FILE --json RUN.result.json"),
    told.reports.length ? [el("h2", { class: "apart" }, "Reports"), el("ul", { class: "reports" }, told.reports.map((one) =>
      el("li", {}, el("a", { href: one.path, target: "_blank", rel: "noopener" }, one.name))))] : null,
    told.skipped.length ? el("p", { class: "warning" }, `Not read: ${told.skipped.join(", ")}`) : null);
}

const shown = (metric, value) => (value === undefined ? "–" : number(value, metric.startsWith("bleu") ? 2 : 4));

function section(kind) {
  const runs = told.runs.filter((one) => one.kind === kind);
  const metrics = FIRST[kind];
  const main = metrics[0];
  runs.sort((one, other) => (other.metrics[main] ?? -1) - (one.metrics[main] ?? -1));
  const best = Math.max(...runs.map((one) => one.metrics[main] ?? 0), 1e-9);
  const difference = el("div", {});
  const pick = (at, label) => el("select", { "aria-label": label, change: () => compare() },
    runs.map((one, place) => el("option", { value: place, selected: place === at }, one.name)));
  const [first, second] = [pick(0, "First run"), pick(Math.min(1, runs.length - 1), "Second run")];
  const compare = () => fill(difference, compared(runs[first.value], runs[second.value], kind));
  compare();
  return el("section", { class: "runs" }, el("h2", { class: "apart" }, kind === "titles" ? "The next title" : "The next product"),
    scrolled("Scores", el("table", { class: "numbers" },
      el("thead", {}, el("tr", {}, el("th", { scope: "col" }, "run"), el("th", { scope: "col", class: "r" }, "sessions"),
        metrics.map((one) => el("th", { scope: "col", class: "r" }, NAMES[one] || one)), el("th", { scope: "col" }, `${NAMES[main]}, 95 % interval`))),
      el("tbody", {}, runs.map((one) => el("tr", {}, el("th", { scope: "row" }, one.name, one.partial ? " (partial)" : ""),
        el("td", { class: "r" }, number(one.num_sessions)),
        metrics.map((metric) => el("td", { class: "r" }, shown(metric, one.metrics[metric]))),
        el("td", {}, bar(one, main, best))))))),
    runs.every((one) => one.intervals[main]) ? null
      : el("p", { class: "hint" }, "A result has an interval where it was made by llmrec evaluate --by locale."),
    runs.length > 1 ? [el("div", { class: "line apart" }, el("h3", {}, "Two of them"), first, el("span", { class: "hint" }, "against"), second),
      difference] : null);
}

/** A bar with its interval, and the interval as text for those who do not see it. */
function bar(one, metric, best) {
  const value = one.metrics[metric] ?? 0;
  const [low, high] = one.intervals[metric] || [value, value];
  const box = el("span", { class: "bar", "aria-hidden": "true" }, el("span", { class: "bar-fill" }), el("span", { class: "bar-range" }));
  const width = (part) => `${(100 * Math.max(0, part)) / (best * 1.15)}%`;
  box.firstChild.style.width = width(value);
  box.lastChild.style.left = width(low);
  box.lastChild.style.width = width(high - low);
  return [box, el("span", { class: "hint" }, one.intervals[metric] ? `${shown(metric, low)} to ${shown(metric, high)}` : "no interval")];
}

/** Two runs' figures at once, and their paired intervals as soon as these are counted. */
function compared(one, other, kind) {
  if (one === other) return el("p", { class: "hint" }, "Choose two different runs.");
  const main = FIRST[kind][0];
  const told = el("p", { class: "hint", role: "status" }, "The intervals are being counted …");
  const cells = new Map();
  const table = (title, head, rows) => scrolled(title, el("table", { class: "numbers" },
    el("caption", {}, el("span", {}, title)),
    el("thead", {}, el("tr", {}, [head, "difference", "95 % interval", one.name, other.name].map((name, place) =>
      el("th", { scope: "col", class: place ? "r" : null }, name)))),
    el("tbody", {}, rows.map(([name, part, metric, mine, theirs]) => {
      const interval = el("td", { class: "r" }, "–");
      const gain = el("td", { class: "r" }, signed(metric, (mine[metric] ?? 0) - (theirs[metric] ?? 0)));
      cells.set(`${part} ${metric}`, [gain, interval]);
      return el("tr", {}, el("th", { scope: "row" }, name), gain, interval,
        el("td", { class: "r" }, shown(metric, mine[metric])), el("td", { class: "r" }, shown(metric, theirs[metric])));
    }))));
  const shared = Object.keys(one.locales).filter((name) => name in other.locales);
  countIntervals(one, other, cells, told);
  return [
    table("All sessions", "metric", FIRST[kind].map((metric) => [NAMES[metric], ALL, metric, one.metrics, other.metrics])),
    shared.length < 2 ? null : table(`${NAMES[main]} by locale`, "sessions of", shared.map((name) => [name, name, main, one.locales[name], other.locales[name]])),
    told,
    asCode("difference", "/v1/page/difference", { first: one.name, second: other.name }, one.targets || "TARGETS"),
  ];
}

async function countIntervals(one, other, cells, told) {
  let found = { differences: [], why_not: "" };
  try {
    found = (await ask("/v1/page/difference", { first: one.name, second: other.name })).answer;
  } catch (error) {
    found.why_not = error.message;
  }
  for (const { part, metric, difference, low, high } of found.differences) {
    const [gain, interval] = cells.get(`${part} ${metric}`) || [];
    if (!gain) continue;
    gain.classList.add(low > 0 ? "gain" : high < 0 ? "less" : "chance");
    fill(gain, document.createTextNode(signed(metric, difference)));
    fill(interval, document.createTextNode(`${signed(metric, low)} to ${signed(metric, high)}`));
  }
  fill(told, document.createTextNode(found.why_not ? `No interval of the difference: ${found.why_not}.`
    : "By the paired bootstrap, 1,000 resamples. Coloured where the interval is on one side of 0."));
  told.className = found.why_not ? "warning" : "hint";
}

const signed = (metric, value) => (value > 0 ? "+" : "") + shown(metric, value);

function scrolled(name, table) {
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": name }, table);
}
