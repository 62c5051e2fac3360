// Steps of a chain with the energy of each, on the scale of the release: the share of right steps that have less.

import { element } from "./page.js";
import { number, percent, say } from "./words.js";

const DOUBTFUL_SHARE = 0.95; // where a release has no threshold of its own: one right step in twenty surprises more

/** What a release knows of the energies of right steps. */
export function scaleOf(release) {
  return { quantiles: release?.step_quantiles ?? [], threshold: release?.step_threshold ?? null };
}

/** Share of right steps with less energy; null where the release does not know. */
export function shareBelow({ quantiles }, energy) {
  if (!quantiles.length || energy === null || energy === undefined) return null;
  const last = quantiles.length - 1;
  if (energy <= quantiles[0]) return 0;
  if (energy >= quantiles[last]) return 1;
  const above = quantiles.findIndex((value) => value > energy);
  const [low, high] = [quantiles[above - 1], quantiles[above]];
  return (above - 1 + (energy - low) / (high - low)) / last;
}

/** Index of the first step that is more surprising than the release takes a right one to be; -1 for none. */
export function firstDoubtful(scale, energies) {
  return energies.findIndex((energy) => {
    if (energy === null || energy === undefined) return false;
    return scale.threshold !== null ? energy > scale.threshold : (shareBelow(scale, energy) ?? 0) >= DOUBTFUL_SHARE;
  });
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

/** Rows of steps; without energies no bars are drawn. The first doubtful step is marked. */
export function drawSteps(list, { steps, answer, energies = [], answerEnergy = null, scale }) {
  const doubtful = firstDoubtful(scale, [...steps.map((_, index) => energies[index] ?? null), answerEnergy]);
  const rows = steps.map((text, index) => row(say("stepRow", { number: index + 1 }), String(index + 1), text, energies[index], scale, doubtful === index));
  if (answer !== null) {
    const last = row(say("answer"), "=", say("answerSaid", { answer }), answerEnergy, scale, doubtful === steps.length);
    last.classList.add("final");
    rows.push(last);
  }
  list.replaceChildren(...rows);
}

function row(spoken, label, text, energy, scale, doubtful) {
  const item = element("li", doubtful ? "doubtful" : "");
  const number = element("span", "number");
  number.append(element("span", "", label, { "aria-hidden": "true" }), element("span", "hidden", `${spoken}. `));
  const words = element("span", "text", text);
  item.append(number, words);
  if (energy !== null && energy !== undefined) item.append(drawEnergy(scale, energy));
  if (doubtful) item.append(element("span", "mark", say("doubtful")));
  return item;
}

/** One energy: a bar on the release's scale, or the bare number where it has none. */
export function drawEnergy(scale, energy) {
  const share = shareBelow(scale, energy);
  if (share === null) return element("span", "energy bare", say("energyOnly", { energy: number(energy) }));
  const sentence = say("energyOf", { percent: percent(share), energy: number(energy) });
  const meter = element("span", "energy", "", {
    role: "meter", "aria-label": say("energyLabel"), "aria-valuemin": "0", "aria-valuemax": "100",
    "aria-valuenow": String(Math.round(100 * share)), "aria-valuetext": sentence, title: sentence,
  });
  meter.append(drawBar(share), element("span", "share", percent(share)));
  return meter;
}

export function drawBar(share) {
  const bar = element("span", "bar");
  bar.style.setProperty("--level", String(share));
  bar.dataset.heat = share >= 0.98 ? "hot" : share >= 0.9 ? "warm" : "calm";
  return bar;
}
