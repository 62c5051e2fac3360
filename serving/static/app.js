// The chat page: state, events and the order of things. Drawing is in view.js, words in text.js, calls in api.js.

import { ask, get, ServiceError } from "./api.js";
import { currentLanguage, domain, say, switchLanguage } from "./text.js";
import { drawAnswer, drawError, drawSteps, element, parse } from "./view.js";

const byId = (id) => document.getElementById(id);
const turns = []; // {card, result, error}: kept so that a change of language can draw them again
let info = null;
let examples = [];
let running = null;

function mode() {
  return document.querySelector("input[name=mode]:checked").value;
}

function drawWords() {
  document.documentElement.lang = currentLanguage();
  for (const node of document.querySelectorAll("[data-text]")) node.textContent = say(node.dataset.text);
  byId("question").placeholder = say("placeholder");
  byId("language").textContent = say("language");
  byId("language").title = say("languageHint");
  byId("theme").textContent = `◐ ${say("theme")}`;
  drawStatus();
  drawExamples();
  for (const turn of turns) drawTurn(turn);
}

function drawTurn({ card, result, error }) {
  if (error) drawError(card, error.message, error.cure);
  else if (result) drawAnswer(card, result);
}

function drawStatus() {
  const status = byId("status");
  if (info === null) status.textContent = say("loading");
  else if (info.unreachable) status.textContent = say("unreachable");
  else if (info.release) {
    const figures = { model: info.model, release: info.release.id, problem: info.error?.problem };
    status.textContent = say(info.error ? "readyOld" : "ready", figures);
  } else status.textContent = info.error ? `${info.error.problem} → ${info.error.cure}` : say("loading");
}

function drawExamples() {
  byId("examples").replaceChildren(...examples.map((example) => {
    const button = element("button", "example");
    button.type = "button";
    button.append(element("small", "", domain(example.domain)), example.statement);
    button.addEventListener("click", () => send(example.statement));
    return button;
  }));
}

async function refresh() {
  try {
    info = await get("/v1/info");
    byId("key-form").hidden = true;
    byId("candidates").max = info.modes.find((known) => known.name === "rerank").options.num_candidates.maximum;
    if (info.ready && !examples.length) {
      examples = (await get("/v1/examples")).data;
      drawExamples();
    }
  } catch (error) {
    if (error.status === 401) byId("key-form").hidden = false;
    else if (!(error instanceof ServiceError)) info = { unreachable: true };
  }
  drawStatus();
}

async function watch() {
  await refresh();
  setTimeout(watch, info?.ready ? 15000 : 2000);
}

async function send(question) {
  if (running || !question.trim() || !byId("candidates").reportValidity()) return;
  running = new AbortController();
  byId("welcome").hidden = true;
  byId("send").hidden = true;
  byId("stop").hidden = false;
  byId("question").value = "";
  const count = Number(byId("candidates").value);
  const chosen = mode();
  const card = element("article", "reply");
  card.append(element("p", "waiting", say(chosen === "off" ? "waitingOff" : "waitingRerank", { count })));
  byId("turns").append(element("p", "asked", question), card);
  card.scrollIntoView({ block: "nearest" });
  const turn = { card };
  turns.push(turn);
  await answer(turn, question, chosen, count);
  drawTurn(turn);
  card.scrollIntoView({ block: "nearest" });
  running = null;
  byId("stop").hidden = true;
  byId("send").hidden = false;
  byId("question").focus();
}

/** Stream one answer into its card; what comes of it is left in `turn`. */
async function answer(turn, question, chosen, candidates) {
  const list = element("ol", "steps");
  let text = "";
  try {
    if (!info?.model) await refresh();
    turn.result = await ask(question, {
      model: info?.model ?? "", mode: chosen, candidates, signal: running.signal,
      onText: (piece) => {
        text += piece;
        if (!list.isConnected) turn.card.replaceChildren(list);
        drawSteps(list, parse(text));
      },
    });
    if (!turn.result) throw new ServiceError(say("unreachable"), say("unreachableCure"));
  } catch (error) {
    if (error.name === "AbortError") turn.card.append(element("p", "note", say("stopped")));
    else if (error instanceof ServiceError) turn.error = error;
    else turn.error = { message: say("unreachable"), cure: say("unreachableCure") };
    if (error.status === 401) byId("key-form").hidden = false;
  }
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
byId("stop").addEventListener("click", () => running?.abort());
byId("modes").addEventListener("change", () => { byId("count").hidden = mode() === "off"; });
byId("language").addEventListener("click", () => { switchLanguage(); drawWords(); });
byId("theme").addEventListener("click", () => {
  const dark = document.documentElement.dataset.theme
    ? document.documentElement.dataset.theme === "dark"
    : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "light" : "dark";
  localStorage.setItem("theme", document.documentElement.dataset.theme);
});
byId("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  sessionStorage.setItem("key", byId("key").value.trim());
  byId("key").value = "";
  refresh();
});

if (localStorage.getItem("theme")) document.documentElement.dataset.theme = localStorage.getItem("theme");
drawWords();
watch();
