// An answer while it is being written: its own steps, or the candidates that it will be chosen from.

import { drawChanges } from "./changes.js";
import { element } from "./page.js";
import { drawBar, drawSteps, parse, shareBelow } from "./steps.js";
import { percent, say } from "./words.js";

const SHOWN_LANES = 12; // more candidates than that push everything else off a screen

/** Draw what there is so far; called after every event that changed something. */
export function drawDraft(card, draft, scale) {
  card.replaceChildren(...[drawText(draft, scale), drawProgress(draft), drawLanes(draft, scale), drawWay(draft)].filter(Boolean));
}

/** Whole steps of a draft as sentences for those who hear the page, from the `from`th on. */
export function newSentences(draft, from) {
  const whole = draft.text.slice(0, draft.text.lastIndexOf("\n") + 1);
  return parse(whole).steps.slice(from).map((text, index) => say("stepSaid", { number: from + index + 1, text }));
}

function drawText(draft, scale) {
  if (!draft.text) return draft.lanes.length ? null : element("p", "waiting", say("waiting"));
  const { steps, answer } = parse(draft.text);
  const list = element("ol", "steps");
  drawSteps(list, { steps, answer, energies: draft.energies, answerEnergy: draft.energies[steps.length] ?? null, scale });
  return list;
}

function drawProgress({ written, total, lanes }) {
  const most = Math.max(total, lanes.length);
  if (!most) return null;
  const box = element("p", "waiting");
  const label = say("waitingMany", { written, total: most });
  box.append(element("span", "", label), element("progress", "", "", { value: written, max: most, "aria-label": label }));
  return box;
}

function drawLanes({ lanes, text }, scale) {
  if (text || !lanes.some((lane) => lane.steps.length)) return null;
  const list = element("ul", "lanes");
  for (const [index, lane] of lanes.slice(0, SHOWN_LANES).entries()) {
    const item = element("li", lane.pruned === null ? "" : "pruned");
    item.append(element("span", "name", say("lane", { number: index + 1 })), drawMarks(lane, scale));
    const last = lane.steps.at(-1)?.text.trim() ?? "";
    const state = lane.pruned !== null ? say("lanePruned", { step: lane.pruned }) : lane.done ? say("laneDone") : "";
    item.append(element("span", "last", last), element("span", "state", state));
    list.append(item);
  }
  return list;
}

function drawMarks({ steps }, scale) {
  const marks = element("span", "marks");
  for (const { energy } of steps) {
    const share = shareBelow(scale, energy);
    if (share === null) continue;
    const bar = drawBar(share);
    bar.title = percent(share);
    marks.append(bar);
  }
  return marks;
}

function drawWay({ changes, text }) {
  const shown = changes.filter(({ type }) => type !== "branch").slice(-5);
  return shown.length && !text ? drawChanges(shown) : null;
}
