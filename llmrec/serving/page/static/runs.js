// Runs of a folder: what they scored, the reports beside them, and two of them compared.

import { ask } from "./api.js";
import { $, el, fill, number, problem, waiting } from "./dom.js";

const FIRST = { ranking: ["mrr@100", "recall@100", "ndcg@100"], titles: ["bleu", "exact_match"] };
const NAMES = { "mrr@100": "MRR@100", "recall@100": "Recall@100", "ndcg@100": "NDCG@100", bleu: "BLEU", exact_match: "Exact match" };
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

function compared(one, other, kind) {
  const metric = FIRST[kind][0];
  if (one === other) return el("p", { class: "hint" }, "Choose two different runs.");
  const same = one.targets === other.targets && one.num_sessions === other.num_sessions;
  const rows = [["all sessions", one.metrics, other.metrics],
    ...Object.keys(one.locales).filter((name) => name in other.locales).map((name) => [name, one.locales[name], other.locales[name]])];
  return [
    same ? null : el("p", { class: "warning" }, "These runs are of other sessions or targets, so their difference says little."),
    scrolled("Difference", el("table", { class: "numbers" },
      el("caption", {}, el("span", {}, `${NAMES[metric]} by locale`)),
      el("thead", {}, el("tr", {}, [" ", one.name, other.name, "difference"].map((name, place) =>
        el("th", { scope: "col", class: place ? "r" : null }, name.trim() || "sessions of")))),
      el("tbody", {}, rows.map(([name, mine, theirs]) => {
        const gain = (mine[metric] ?? 0) - (theirs[metric] ?? 0);
        return el("tr", {}, el("th", { scope: "row" }, name), el("td", { class: "r" }, shown(metric, mine[metric])),
          el("td", { class: "r" }, shown(metric, theirs[metric])),
          el("td", { class: `r ${gain < 0 ? "less" : "gain"}` }, `${gain > 0 ? "+" : ""}${shown(metric, gain)}`));
      })))),
    el("p", { class: "hint" }, "With intervals: llmrec evaluate FIRST --targets FILE --compare SECOND"),
  ];
}

function scrolled(name, table) {
  return el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": name }, table);
}
