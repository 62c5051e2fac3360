// Draw questions, answers and candidates. Text only ever enters the page through textContent.

import { explain, number, percent, say } from "./text.js";

export function element(tag, className = "", text = "") {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text) made.textContent = text;
  return made;
}

/** Steps and answer of a chain's text, as far as it has come. */
export function parse(text) {
  const steps = [];
  let answer = null;
  for (const line of text.split("\n")) {
    const step = line.match(/^\s*Step\s+\d+\s*[:.]\s*(.*)$/);
    const final = line.match(/^\s*(?:Answer|The answer is)\s*:?\s*(.*)$/);
    if (step) steps.push(step[1]);
    else if (final) answer = final[1];
    else if (line.trim() && answer === null) {
      if (steps.length) steps[steps.length - 1] += `\n${line}`;
      else steps.push(line);
    }
  }
  return { steps, answer };
}

/** `highest` is the energy that fills a bar; without energies no bars are drawn. */
export function drawSteps(list, { steps, answer, energies = [], answerEnergy = null, highest = 0 }) {
  const rows = steps.map((text, index) => row(String(index + 1), text, energies[index], highest));
  if (answer !== null) {
    const last = row("=", `${say("answer")}: ${answer}`, answerEnergy, highest);
    last.querySelector(".text").classList.add("final");
    rows.push(last);
  }
  list.replaceChildren(...rows);
}

function row(label, text, energy, highest) {
  const item = element("li");
  item.append(element("span", "number", label), element("span", "text", text));
  if (energy !== null && energy !== undefined) {
    const level = Math.min(1, Math.max(0, energy / (highest || 1)));
    const meter = element("span", "energy");
    const bar = element("span", "bar");
    bar.style.setProperty("--level", String(level));
    meter.setAttribute("role", "img");
    meter.setAttribute("aria-label", say("energy", { value: number(energy) }));
    meter.append(bar, element("span", "", number(energy)));
    item.append(meter);
  }
  return item;
}

/** A finished answer: steps with energies, figures, why, and the candidates. */
export function drawAnswer(card, result) {
  const chosen = result.candidates.find((candidate) => candidate.chosen);
  const highest = Math.max(0, ...result.candidates.flatMap((candidate) => energiesOf(candidate)));
  const list = element("ol", "steps");
  drawSteps(list, {
    steps: result.steps, answer: result.final_answer, energies: chosen?.step_energies, answerEnergy: chosen?.answer_energy, highest,
  });
  card.replaceChildren(list, facts(result));
  if (!chosen) return;
  const why = element("p", "why");
  why.append(element("b", "", say("why")), explain(result.explanation, result.candidates));
  card.append(why, candidateList(result.candidates, highest));
}

const energiesOf = (candidate) => [...candidate.step_energies, ...(candidate.answer_energy === null ? [] : [candidate.answer_energy])];

function facts(result) {
  const line = element("p", "facts");
  if (result.final_answer === null) line.append(element("b", "", say("noAnswer")));
  if (result.p_correct !== null) {
    const chance = element("span", "p-correct", `${say("pCorrect")} `);
    chance.append(element("b", "", percent(result.p_correct)));
    line.append(chance);
  }
  if (!result.finished) line.append(element("span", "", say("cut")));
  line.append(
    element("span", "", say("tokens", { value: result.cost.tokens_generated })),
    element("span", "", say("seconds", { value: number(result.cost.seconds, 1) })),
    element("span", "", say("seed", { value: result.seed })),
  );
  return line;
}

function candidateList(candidates, highest) {
  const all = element("details", "candidates");
  all.append(element("summary", "", say("showCandidates", { count: candidates.length })), element("p", "note", say("energyNote")));
  for (const candidate of [...candidates].sort((a, b) => a.rank - b.rank)) all.append(drawCandidate(candidate, highest));
  return all;
}

function drawCandidate(candidate, highest) {
  const box = element("details", candidate.chosen ? "candidate chosen" : "candidate");
  const head = element("summary");
  const name = `${say("candidate", { number: candidate.index + 1 })}: ${candidate.final_answer ?? say("noAnswer")}`;
  head.append(element("b", "", name));
  if (candidate.chosen) head.append(element("span", "badge", say("chosen")));
  const energies = energiesOf(candidate);
  const mean = energies.length ? energies.reduce((sum, value) => sum + value, 0) / energies.length : null;
  const figures = element("span", "figures");
  const shown = [
    ["score", number(candidate.score)], ["meanEnergy", number(mean)], ["logprob", number(candidate.logprob)],
    ["pCorrect", percent(candidate.p_correct)], ["votes", candidate.votes],
  ];
  for (const [label, value] of shown) figures.append(element("span", "", `${say(label)} ${value}`));
  head.append(figures);
  const list = element("ol", "steps");
  drawSteps(list, {
    steps: candidate.steps, answer: candidate.final_answer, energies: candidate.step_energies, answerEnergy: candidate.answer_energy, highest,
  });
  box.append(head, list);
  return box;
}

export function drawError(card, problem, cure) {
  card.classList.add("error");
  card.setAttribute("role", "alert");
  card.replaceChildren(element("p", "problem", problem), ...(cure ? [element("p", "cure", cure)] : []));
}
