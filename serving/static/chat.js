// The chat page: events and the order of things. What is drawn lives in the other modules, the words on the server.

import { answerSaid, drawAnswer } from "./answer.js";
import { ask, post } from "./api.js";
import { addTurn, forget, messagesFor, newDraft, note, save, turns } from "./conversation.js";
import { drawDraft, newSentences } from "./draft.js";
import { drawFeedback } from "./feedback.js";
import { watchMine } from "./mine.js";
import { chosen, drawOptions, showControls } from "./options.js";
import { askForKey, button, byId, drawRefusal, element, startPage } from "./page.js";
import { refresh, served, watch } from "./served.js";
import { scaleOf } from "./steps.js";
import { errorLine, say } from "./words.js";

const main = byId("main");
const cards = new WeakMap(); // turn -> its box in the page
let running = null; // {controller, turn} while an answer is being written
let placed = null; // where the page itself last scrolled to: elsewhere, the reader has moved, and is left alone
let due = null; // the turn that the next frame draws
let waiting = false; // a question was sent before the page knew its modes

async function send(question) {
  if (running || waiting || !question.trim()) return;
  if (!byId("mode").value) {
    waiting = true;
    await refresh(send);
    waiting = false;
  }
  const body = chosen();
  if (body === null) return;
  byId("question").value = "";
  byId("more").open = false; // they take the room that the answer needs
  showControls(false);
  const turn = addTurn(question.trim(), body.rjepa.mode);
  byId("turns").append(drawTurn(turn));
  placed = null;
  answer(turn, body);
}

/** Stream one answer into its card. What comes of it is kept in the turn. */
async function answer(turn, body) {
  const controller = new AbortController();
  running = { controller, turn };
  Object.assign(turn, { result: null, id: null, feedback: null, reading: null, error: null, stopped: false, interrupted: false, draft: newDraft(), mode: body.rjepa.mode });
  save();
  drawControls();
  byId("live").replaceChildren(element("p", "", say("sent")));
  redraw(turn);
  let said = 0;
  try {
    if (!served.info?.release) await refresh(send);
    turn.scale = scaleOf(served.info?.release);
    for await (const event of ask({ ...body, model: served.info?.model ?? "", messages: messagesFor(turn) }, controller.signal)) {
      if (event.type === "answer") Object.assign(turn, { result: event.answer, id: event.id });
      else note(turn.draft, event);
      const sentences = newSentences(turn.draft, said);
      said += sentences.length;
      for (const sentence of sentences) byId("live").append(element("p", "", sentence));
      drawSoon(turn);
    }
  } catch (error) {
    if (error.name === "AbortError") turn.stopped = true;
    else turn.error = { problem: error.problem ?? String(error), cure: error.cure ?? "", code: error.code ?? null, status: error.status ?? 0 };
    if (error.status === 401) askForKey();
  }
  finish(turn);
  if (turn.result && isAlone(turn)) await readAfterwards(turn);
}

/** Whether nobody but the student has seen an answer that answers its question alone. */
function isAlone({ result, draft }) {
  const unread = result.ignored?.some((part) => /earlier messages?$/.test(part));
  return !result.explanation && !result.candidates.length && draft.text !== "" && (turns.length === 1 || unread);
}

/** Let R-JEPA read what the student wrote by itself. Where it cannot, the answer stays as it is, and says so. */
async function readAfterwards(turn) {
  try {
    turn.reading = await post("/v1/rjepa/score", { problem: turn.question, chains: [turn.draft.text] });
  } catch {
    return;
  }
  save();
  redraw(turn);
  byId("live").append(element("p", "", answerSaid(turn)));
}

function finish(turn) {
  running = null;
  due = null;
  turn.changes = turn.draft.changes;
  save();
  redraw(turn);
  drawControls();
  byId("live").append(element("p", "", outcome(turn)));
  const refused = turn.error !== null && turn.error.status >= 400 && turn.error.status < 500;
  if (refused && !byId("question").value) byId("question").value = turn.question;
  if (!byId("key-box").open) byId("question").focus({ preventScroll: true });
}

function outcome(turn) {
  if (turn.result) return answerSaid(turn);
  return turn.error ? errorLine(turn.error) : say("stopped");
}

function drawTurn(turn) {
  const box = element("article", "turn", "", { "aria-label": turn.question.slice(0, 80) });
  const asked = element("p", "asked");
  asked.append(element("span", "hidden", `${say("you")}: `), turn.question);
  const card = element("div", "reply");
  box.append(asked, card);
  cards.set(turn, box);
  redraw(turn);
  return box;
}

/** Draw with the next frame: many events may come before it. */
function drawSoon(turn) {
  if (due === null) requestAnimationFrame(() => due && redraw(due));
  due = turn;
}

/** Draw a turn again. Unless the reader has scrolled, its end is in sight; an answer that is too long, from its question on. */
function redraw(turn) {
  due = null;
  const box = cards.get(turn);
  const card = box.querySelector(".reply");
  const following = placed === null || Math.abs(main.scrollTop - placed) < 4;
  card.classList.toggle("error", turn.error !== null);
  if (turn.result) {
    drawAnswer(card, turn, served.info?.release?.figures?.ece);
    const feedback = running?.turn === turn ? null : drawFeedback(turn);
    if (feedback) card.append(feedback);
  }
  else if (running?.turn === turn) drawDraft(card, turn.draft, turn.scale ?? scaleOf(null));
  else drawUnanswered(card, turn);
  if (!following || !box.isConnected) return;
  const whole = turn.result || running?.turn === turn ? box.offsetTop - 12 : Infinity;
  main.scrollTop = Math.min(main.scrollHeight, whole);
  placed = main.scrollTop;
}

function drawUnanswered(card, turn) {
  card.replaceChildren();
  if (turn.draft.text) drawDraft(card, turn.draft, turn.scale ?? scaleOf(null));
  if (turn.error) drawRefusal(card, turn.error);
  else card.append(element("p", "note", say(turn.stopped ? "stoppedNote" : "interrupted")));
  const actions = element("p", "actions");
  actions.append(button("", say("retry"), () => {
    const body = chosen();
    if (!running && body !== null) answer(turn, body);
  }));
  actions.append(button("plain", say("edit"), () => {
    byId("question").value = turn.question;
    byId("question").focus();
  }));
  card.append(actions);
}

function drawControls() {
  byId("welcome").hidden = turns.length > 0;
  byId("new").hidden = turns.length === 0;
  byId("send").hidden = running !== null;
  byId("stop").hidden = running === null;
}

byId("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  send(byId("question").value);
});
byId("question").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  byId("ask").requestSubmit();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") running?.controller.abort();
});
byId("stop").addEventListener("click", () => running?.controller.abort());
byId("tune").addEventListener("click", () => showControls(byId("tune").getAttribute("aria-expanded") !== "true"));
byId("mode").addEventListener("change", drawOptions);
byId("new").addEventListener("click", () => {
  if (!confirm(say("forgetConversation"))) return;
  running?.controller.abort();
  forget();
  byId("turns").replaceChildren();
  drawControls();
  byId("question").focus();
});

startPage(() => refresh(send));
byId("turns").append(...turns.map(drawTurn));
drawControls();
main.scrollTop = main.scrollHeight;
watch(send);
watchMine();
