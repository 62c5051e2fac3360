// Candidates side by side: a column each, a row a step, with what differs from the chosen chain marked.

import { element } from "./page.js";
import { drawEnergy } from "./steps.js";
import { number, percent, say } from "./words.js";

/** A table in a region that scrolls sideways. `scale` is null where energies mean nothing. */
export function drawComparison(candidates, scale) {
  const columns = group(candidates);
  const chosen = candidates.find((candidate) => candidate.chosen) ?? columns[0].candidate;
  const table = element("table");
  const head = element("tr");
  head.append(element("td"), ...columns.map(drawHead));
  const body = element("tbody");
  for (const [name, value] of figures(scale)) body.append(line(say(name), columns.map(({ candidate }) => value(candidate))));
  const longest = Math.max(...columns.map(({ candidate }) => candidate.steps.length));
  for (let step = 0; step < longest; step += 1) {
    body.append(line(say("stepRow", { number: step + 1 }), columns.map(({ candidate }) => drawStep(candidate, chosen, step, scale)), "step"));
  }
  const thead = element("thead");
  thead.append(head);
  table.append(element("caption", "hidden", say("compareRegion")), thead, body);
  const region = element("div", "compare", "", { role: "region", tabindex: "0", "aria-label": say("compareRegion") });
  region.append(table);
  return region;
}

/** Candidates by rank, the chosen one first; those that wrote the same share a column. */
function group(candidates) {
  const columns = [];
  const ranked = [...candidates].sort((a, b) => Number(b.chosen) - Number(a.chosen) || a.rank - b.rank);
  for (const candidate of ranked) {
    const same = columns.find((column) => written(column.candidate) === written(candidate));
    if (same) same.numbers.push(candidate.index + 1);
    else columns.push({ candidate, numbers: [candidate.index + 1] });
  }
  return columns;
}

const written = (candidate) => JSON.stringify([candidate.steps, candidate.final_answer]);

function drawHead({ candidate, numbers }) {
  const cell = element("th", candidate.chosen ? "chosen" : "", "", { scope: "col" });
  const name = numbers.length > 1 ? say("candidates", { numbers: numbers.join(", ") }) : say("candidate", { number: numbers[0] });
  cell.append(element("span", "name", name));
  if (candidate.chosen) cell.append(" ", element("span", "badge", say("chosen")));
  cell.append(element("b", "", candidate.final_answer ?? say("noAnswer")));
  return cell;
}

function figures(scale) {
  const shown = [["votes", (candidate) => String(candidate.votes)], ["score", (candidate) => number(candidate.score)], ["logprob", (candidate) => number(candidate.logprob, 1)]];
  if (scale === null) return shown;
  return [["pCorrect", (candidate) => percent(candidate.p_correct)], ...shown.slice(0, 2), ["meanEnergy", (candidate) => number(mean(candidate.step_energies))], ...shown.slice(2)];
}

const mean = (values) => (values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : null);

function line(name, values, className = "") {
  const row = element("tr", className);
  row.append(element("th", "", name, { scope: "row" }));
  for (const value of values) {
    const cell = element("td");
    cell.append(value);
    row.append(cell);
  }
  return row;
}

function drawStep(candidate, chosen, step, scale) {
  const box = document.createDocumentFragment();
  const text = candidate.steps[step];
  if (text === undefined) {
    box.append(element("span", "soft", say("noStep")));
    return box;
  }
  if (candidate !== chosen && text === chosen.steps[step]) box.append(element("span", "soft", `${text} (${say("sameStep")})`));
  else box.append(candidate === chosen ? element("span", "", text) : markDifference(text, chosen.steps[step] ?? ""));
  const energy = candidate.step_energies[step];
  if (scale !== null && energy !== undefined) box.append(drawEnergy(scale, energy));
  return box;
}

/** The text with the words marked that are not in `other`, in their order. */
export function markDifference(text, other) {
  const [ours, theirs] = [text, other].map((value) => value.match(/\s+|[^\s]+/g) ?? []);
  const kept = common(ours, theirs);
  const box = element("span");
  for (const [index, word] of ours.entries()) {
    if (kept.has(index) || !word.trim()) box.append(word);
    else box.append(element("mark", "", word));
  }
  return box;
}

/** Indexes in `ours` of a longest common subsequence. */
function common(ours, theirs) {
  const lengths = Array.from({ length: ours.length + 1 }, () => new Uint16Array(theirs.length + 1));
  for (let i = ours.length - 1; i >= 0; i -= 1) {
    for (let j = theirs.length - 1; j >= 0; j -= 1) {
      lengths[i][j] = ours[i] === theirs[j] ? lengths[i + 1][j + 1] + 1 : Math.max(lengths[i + 1][j], lengths[i][j + 1]);
    }
  }
  const kept = new Set();
  for (let i = 0, j = 0; i < ours.length && j < theirs.length;) {
    if (ours[i] === theirs[j]) { kept.add(i); i += 1; j += 1; } else if (lengths[i + 1][j] >= lengths[i][j + 1]) i += 1;
    else j += 1;
  }
  return kept;
}
