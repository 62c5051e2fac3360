// A finished answer: what it is worth first, then its steps, why it was chosen, what happened, and its candidates.

import { changesOf, drawChanges } from "./changes.js";
import { drawComparison } from "./compare.js";
import { element } from "./page.js";
import { drawSteps, firstDoubtful } from "./steps.js";
import { knows, named, number, percent, say } from "./words.js";

const TRUSTED_ECE = 0.05; // figures that were farther off on test problems are not told as "so many of a hundred"
const NO_SCALE = { quantiles: [], threshold: null };

/** Fill a card with an answer. `scale` is its release's; `ece` is how far off P(correct) was on test problems. */
export function drawAnswer(card, { result, scale, changes = [] }, ece) {
  const chosen = result.candidates.find((candidate) => candidate.chosen);
  const familiar = result.explanation?.familiar ?? true;
  const read = chosen !== undefined || result.explanation !== null;
  const energies = familiar ? energiesOf(result) : [];
  const list = element("ol", "steps");
  drawSteps(list, {
    steps: result.steps, answer: result.final_answer, energies,
    answerEnergy: familiar ? chosen?.answer_energy ?? null : null, scale: scale ?? NO_SCALE,
  });
  const parts = [notice(familiar, read), list, verdict(result, familiar && read, ece)];
  if (energies.length) parts.push(element("p", "note", say(scale?.quantiles.length ? "legend" : "legendNone")));
  if (chosen && result.explanation) parts.push(why(result.explanation, result.candidates));
  parts.push(onTheWay(result.explanation, changes));
  if (result.candidates.length > 1) parts.push(comparison(result.candidates, familiar ? scale ?? NO_SCALE : null));
  parts.push(facts(result));
  card.replaceChildren(...parts.filter(Boolean));
}

/** The answer in one sentence, for those who hear the page. */
export function answerSaid({ result, scale }) {
  if (result.abstained) return say("abstained");
  const parts = [result.final_answer === null ? `${say("noAnswer")}.` : `${say("answerSaid", { answer: result.final_answer })}.`];
  if (result.p_correct !== null) parts.push(say("pSentence", { percent: percent(result.p_correct) }));
  const familiar = result.explanation?.familiar ?? true;
  if (!familiar) parts.push(say("unfamiliar"));
  const doubtful = familiar ? firstDoubtful(scale ?? NO_SCALE, energiesOf(result)) : -1;
  if (doubtful >= 0 && doubtful < result.steps.length) parts.push(say("doubtfulSaid", { text: result.steps[doubtful] }));
  return parts.join(" ");
}

const energiesOf = (result) => result.candidates.find((candidate) => candidate.chosen)?.step_energies ?? [];

function notice(familiar, read) {
  if (familiar && read) return null;
  const box = element("div", read ? "notice warning" : "notice");
  const name = read ? "unfamiliar" : "unread";
  box.append(element("b", "", say(name)), " ", say(`${name}More`));
  return box;
}

function verdict(result, known, ece) {
  const box = element("div", "verdict");
  if (result.abstained) box.append(element("p", "", say("abstained")));
  else if (result.final_answer === null) box.append(element("p", "", `${say("noAnswer")}.`));
  if (!result.finished && !result.abstained) box.append(element("p", "", say("cut")));
  if (result.p_correct !== null) {
    const sentence = element("p", "p-correct");
    sentence.append(element("b", "", say("pSentence", { percent: percent(result.p_correct) })));
    if ((ece ?? 0) <= TRUSTED_ECE) sentence.append(` ${say("pMeans", { count: Math.round(100 * result.p_correct) })}`);
    if (ece !== null && ece !== undefined) sentence.append(` ${measured(ece)}`);
    box.append(sentence);
  } else if (known) {
    box.append(element("p", "p-correct", say("pUnknown")));
  }
  return box.childElementCount ? box : null;
}

function measured(ece) {
  const points = number(100 * ece, 1);
  return say(100 * ece < 1.95 ? "pMeasuredOne" : "pMeasured", { points });
}

function why(explanation, candidates) {
  const winner = candidates.find((candidate) => candidate.chosen);
  const figures = { votes: winner.votes, count: candidates.length, share: percent(winner.weighted_share) };
  const parts = [knows(explanation.reason) ? say(explanation.reason, figures) : ""];
  if (explanation.runner_up !== null && explanation.margin !== null) {
    const terms = Object.entries(explanation.margin_terms).map(([name, value]) =>
      `${named("term", name)} ${value < 0 ? "−" : "+"}${number(Math.abs(value))}`);
    parts.push(say("ahead", { margin: number(explanation.margin), runner: explanation.runner_up + 1, terms: terms.length ? ` (${terms.join(", ")})` : "" }));
  }
  if (explanation.stopped && knows(`stop_${explanation.stopped}`)) parts.push(say(`stop_${explanation.stopped}`));
  const line = element("p", "why");
  line.append(element("b", "", `${say("whyTitle")}. `), parts.filter(Boolean).join(" "));
  return line;
}

function onTheWay(explanation, streamed) {
  const told = changesOf(explanation);
  const kinds = new Set(told.map(({ type }) => type));
  const all = [...told, ...streamed.filter(({ type }) => !kinds.has(type))];
  if (!all.length) return null;
  const box = element("details", "way");
  box.open = all.some(({ type }) => type === "repaired" || type === "planned");
  box.append(element("summary", "", `${say("changedTitle")} (${all.length})`), drawChanges(all));
  return box;
}

function comparison(candidates, scale) {
  const box = element("details", "candidates");
  box.append(element("summary", "", say("compareTitle", { count: candidates.length })));
  // A table of 64 candidates takes a while to draw: only who wants to see it waits.
  box.addEventListener("toggle", () => {
    if (!box.open || box.querySelector("table")) return;
    box.append(element("p", "note", say("compareNote")), drawComparison(candidates, scale));
  });
  return box;
}

function facts(result) {
  const box = element("details", "facts");
  const list = element("ul");
  const shown = [
    say("factMode", { mode: named("mode", result.mode) }), say("factTokens", { value: result.cost.tokens_generated }),
    say("factSeconds", { value: number(result.cost.seconds, 1) }), say("factSeed", { value: result.seed }),
    say("factRelease", { value: result.release_id }),
  ];
  list.append(...shown.map((text) => element("li", "", text)));
  if (result.ignored?.length) list.append(element("li", "", say("ignoredTitle", { list: result.ignored.map(unreadPart).join(", ") })));
  if (result.receipt) {
    const link = element("a", "", say("receipt"), { download: "receipt.json" });
    link.href = `data:application/json,${encodeURIComponent(JSON.stringify(result.receipt))}`;
    const item = element("li");
    item.append(link);
    list.append(item);
  }
  box.append(element("summary", "", say("factsTitle")), list);
  return box;
}

/** What the student did not read, in the page's language: the service says it in English. */
function unreadPart(text) {
  const found = text.match(/^(?:the|(\d+)) (earlier|system) messages?$/);
  if (found) return say(`ignored_${found[2]}_${found[1] ? "many" : "one"}`, { count: found[1] });
  return say(text === "what follows the last user message" ? "ignored_last" : "ignored_other");
}
