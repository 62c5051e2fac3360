// The chat page: events and the order of things. What is drawn lives in the other modules, the words on the server.

import { answerSaid, drawAnswer } from "./answer.js";
import { ask, get, getText } from "./api.js";
import { addTurn, forget, messagesFor, newDraft, note, save, turns } from "./conversation.js";
import { drawDraft, newSentences } from "./draft.js";
import { chosen, drawOptions, offerModes } from "./options.js";
import { askForKey, button, byId, drawRefusal, element, startPage } from "./page.js";
import { scaleOf } from "./steps.js";
import { day, explainError, named, say } from "./words.js";

const READY_SECONDS = 15;
const WAITING_SECONDS = 2;

const main = byId("main");
let info = null;
let shownRelease = null;
const cards = new WeakMap(); // turn -> its box in the page
let running = null; // {controller, turn} while an answer is being written
let placed = null; // where the page itself last scrolled to: elsewhere, the reader has moved, and is left alone
let due = null; // the turn that the next frame draws

function drawStatus() {
  if (!info?.release) {
    byId("status").textContent = info?.error ? refusalLine(info.error) : say("loading");
    return;
  }
  const figures = { model: info.model, date: day(1000 * info.release.created) };
  byId("status").textContent = say(info.error ? "readyOld" : "ready", figures);
  byId("status").title = info.release.id;
}

function refusalLine(error) {
  const { problem, cure } = explainError(error);
  return `${problem} ${cure}`.trim();
}

async function refresh() {
  try {
    info = await get("/v1/info");
    offerModes(info.modes, info.max_tokens);
    drawStatus();
    if (info.release && info.release.id !== shownRelease) {
      shownRelease = info.release.id;
      await Promise.all([showExamples(), showChanges()]);
    }
  } catch (error) {
    if (error.status === 401) askForKey(sessionStorage.getItem("key") !== null);
    byId("status").textContent = refusalLine(error);
  }
}

async function watch() {
  await refresh();
  setTimeout(watch, 1000 * (info?.ready ? READY_SECONDS : WAITING_SECONDS));
}

async function showExamples() {
  const examples = (await get("/v1/examples")).data;
  byId("examples").replaceChildren(...examples.map(({ domain, statement }) => {
    const made = button("example", "", () => send(statement));
    made.append(element("small", "", named("domain", domain)), element("span", "", statement, { lang: "en" }));
    return made;
  }));
  byId("examples-box").hidden = !examples.length;
}

async function showChanges() {
  const fragment = new DOMParser().parseFromString(await getText("/v1/monitor/changes"), "text/html");
  byId("changes-list").replaceChildren(...fragment.body.childNodes);
  byId("changes").hidden = false;
}

function send(question) {
  const body = chosen();
  if (running || !question.trim() || body === null) return;
  byId("question").value = "";
  const turn = addTurn(question.trim(), body.rjepa.mode);
  byId("turns").append(drawTurn(turn));
  placed = null;
  answer(turn, body);
}

/** Stream one answer into its card. What comes of it is kept in the turn. */
async function answer(turn, body) {
  const controller = new AbortController();
  running = { controller, turn };
  Object.assign(turn, { result: null, error: null, stopped: false, interrupted: false, draft: newDraft(), mode: body.rjepa.mode });
  drawControls();
  byId("live").replaceChildren(element("p", "", say("sent")));
  redraw(turn);
  let said = 0;
  try {
    if (!info?.release) await refresh();
    turn.scale = scaleOf(info?.release);
    for await (const event of ask({ ...body, model: info?.model ?? "", messages: messagesFor(turn) }, controller.signal)) {
      if (event.type === "answer") turn.result = event.answer;
      else note(turn.draft, event);
      const sentences = newSentences(turn.draft, said);
      said += sentences.length;
      for (const sentence of sentences) byId("live").append(element("p", "", sentence));
      drawSoon(turn);
    }
  } catch (error) {
    if (error.name === "AbortError") turn.stopped = true;
    else turn.error = { problem: error.problem ?? String(error), cure: error.cure ?? "", code: error.code ?? null, status: error.status ?? 0 };
    if (error.status === 401) askForKey(sessionStorage.getItem("key") !== null);
  }
  finish(turn);
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
  if (turn.result) return answerSaid(turn.result);
  return turn.error ? refusalLine(turn.error) : say("stopped");
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
  if (turn.result) drawAnswer(card, turn, info?.release?.figures?.ece);
  else if (running?.turn === turn) drawDraft(card, turn.draft, turn.scale ?? scaleOf(null));
  else drawUnanswered(card, turn);
  if (!following || !box.isConnected) return;
  const whole = turn.result || running?.turn === turn ? box.offsetTop - main.offsetTop - 12 : Infinity;
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
byId("mode").addEventListener("change", drawOptions);
byId("new").addEventListener("click", () => {
  if (!confirm(say("forgetConversation"))) return;
  running?.controller.abort();
  forget();
  byId("turns").replaceChildren();
  drawControls();
  byId("question").focus();
});

startPage(refresh);
byId("turns").append(...turns.map(drawTurn));
drawControls();
main.scrollTop = main.scrollHeight;
watch();
