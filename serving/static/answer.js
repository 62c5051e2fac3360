// A finished answer: what it is worth first, then its steps, why it was chosen, what happened, and its candidates.

import { changesOf, drawChanges } from "./changes.js";
import { drawComparison } from "./compare.js";
import { element } from "./page.js";
import { drawSteps, firstDoubtful } from "./steps.js";
import { knows, named, number, percent, say } from "./words.js";

const TRUSTED_ECE = 0.05; // figures that were farther off on test problems are not told as "so many of a hundred"
const NO_SCALE = { quantiles: [], threshold: null };

/** Fill a card with an answer. `scale` is its release's; `ece` is how far off P(correct) was on test problems. */
export function drawAnswer(card, turn, ece) {
  const { result, changes = [] } = turn;
  const scale = turn.scale ?? NO_SCALE;
  const known = whatIsKnown(turn);
  const list = element("ol", "steps");
  drawSteps(list, { steps: result.steps, answer: result.final_answer, ...known, scale });
  // What was measured on test problems is of chains that the student wrote alone.
  const parts = [notice(known), list, verdict(result, known, result.mode === "nudge" ? null : ece)];
  if (known.energies.length) parts.push(element("p", "note", say(scale.quantiles.length ? "legend" : "legendNone")));
  if (result.explanation) parts.push(why(result.explanation, result.candidates));
  parts.push(onTheWay(result.explanation, changes));
  if (result.candidates.length > 1) parts.push(comparison(result.candidates, known.familiar ? scale : null));
  parts.push(facts(result));
  card.replaceChildren(...parts.filter(Boolean));
}

/** The answer in one sentence, for those who hear the page. */
export function answerSaid(turn) {
  const { result } = turn;
  if (result.abstained) return say("abstained");
  const known = whatIsKnown(turn);
  const parts = [result.final_answer === null ? `${say("noAnswer")}.` : `${say("answerSaid", { answer: result.final_answer })}.`];
  if (known.pCorrect !== null) parts.push(say("pSentence", { percent: percent(known.pCorrect) }));
  if (!known.familiar) parts.push(say("unfamiliar"));
  const doubtful = firstDoubtful(turn.scale ?? NO_SCALE, known.energies);
  if (doubtful >= 0 && doubtful < result.steps.length) parts.push(say("doubtfulSaid", { text: result.steps[doubtful] }));
  return parts.join(" ");
}

/** What R-JEPA makes of an answer: of its candidates, or of a chain that it read afterwards. Energies of a problem of a
 * kind that it does not know mean nothing, and are left out. */
function whatIsKnown({ result, reading }) {
  const chosen = result.candidates.find((candidate) => candidate.chosen);
  const judged = reading?.chains[0];
  const familiar = reading?.familiar ?? result.explanation?.familiar ?? true;
  const energies = chosen?.step_energies ?? judged?.steps.map((step) => step.energy) ?? [];
  return {
    familiar,
    by: chosen || result.explanation ? "mode" : judged ? "reading" : "nobody",
    energies: familiar ? energies : [],
    answerEnergy: familiar ? chosen?.answer_energy ?? judged?.answer_energy ?? null : null,
    pCorrect: familiar ? result.p_correct ?? judged?.p_correct ?? null : null,
  };
}

function notice({ familiar, by }) {
  if (familiar && by === "mode") return null;
  const name = !familiar ? "unfamiliar" : by === "reading" ? "readAfter" : "unread";
  const box = element("div", familiar ? "notice" : "notice warning");
  box.append(element("b", "", say(name)), " ", say(`${name}More`));
  return box;
}

function verdict(result, { familiar, by, pCorrect }, ece) {
  const box = element("div", "verdict");
  if (result.abstained) box.append(element("p", "", say("abstained")));
  else if (result.final_answer === null) box.append(element("p", "", `${say("noAnswer")}.`));
  if (!result.finished && !result.abstained) box.append(element("p", "", say("cut")));
  if (pCorrect !== null) {
    const sentence = element("p", "p-correct");
    sentence.append(element("b", "", say("pSentence", { percent: percent(pCorrect) })));
    if ((ece ?? 0) <= TRUSTED_ECE) sentence.append(` ${say("pMeans", { count: Math.round(100 * pCorrect) })}`);
    if (ece !== null && ece !== undefined) sentence.append(` ${measured(ece)}`);
    box.append(sentence);
  } else if (familiar && by !== "nobody") {
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
  box.open = all.some(({ type }) => ["repaired", "planned", "surprises"].includes(type));
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
