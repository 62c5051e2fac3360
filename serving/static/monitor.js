// The monitor: fetches what the server rendered, now and again, and sends what an operator asks for.

import { getText, post, remove } from "./api.js";
import { askForKey, byId, drawRefusal, element, startPage } from "./page.js";
import { language, say } from "./words.js";

const REFRESH_SECONDS = 15;

const filled = new Map(); // what an operator has begun to fill in: it outlives a refresh

async function refresh() {
  try {
    const found = new DOMParser().parseFromString(await getText(`/v1/monitor/sections?lang=${language}`), "text/html");
    keepOpen(found);
    for (const field of found.querySelectorAll("input, select")) if (filled.has(nameOf(field))) fill(field);
    byId("status").textContent = found.querySelector("[data-updated]").dataset.updated;
    byId("sections").replaceChildren(...found.body.childNodes);
  } catch (error) {
    if (error.status === 401) askForKey();
    byId("status").textContent = "";
    refuse(error);
  }
}

/** LoRAs, learning and feedback take a while to work out: they are fetched when the page opens, and when somebody asks or
    decides. */
async function refreshLearning() {
  await Promise.all([
    fetchSection("lora-section", "/v1/lora/section"),
    fetchSection("learning-section", "/v1/learning/section"),
    fetchSection("feedback-section", "/v1/monitor/feedback/section"),
  ]);
}

async function fetchSection(id, path) {
  try {
    const found = new DOMParser().parseFromString(await getText(`${path}?lang=${language}`), "text/html");
    byId(id).replaceChildren(...found.body.childNodes);
  } catch (error) {
    if (error.status === 401) askForKey();
    else refuse(error);
  }
}

const nameOf = (field) => field.id || field.value;

function fill(field) {
  if (field.type === "checkbox") field.checked = filled.get(nameOf(field));
  else field.value = filled.get(nameOf(field));
}

/** What a reader has opened stays open. */
function keepOpen(fresh) {
  const old = [...byId("sections").querySelectorAll("details")];
  const parallel = [...fresh.querySelectorAll("details")];
  if (old.length === parallel.length) old.forEach((box, index) => { parallel[index].open = box.open; });
}

function isBusy() {
  const here = document.activeElement;
  return byId("sections").contains(here) && here.matches("input, select, a, button, summary, [tabindex]");
}

function tell(node) {
  byId("said").replaceChildren(node);
}

function refuse(error) {
  const box = element("div", "refusal");
  drawRefusal(box, error);
  tell(box);
}

async function act(path, body, done, send = post) {
  try {
    const sentence = done(await send(path, body));
    filled.clear();
    await refresh();
    tell(element("p", "done", sentence));
  } catch (error) {
    if (error.status === 401) askForKey();
    refuse(error);
  }
  byId("said").scrollIntoView({ block: "nearest" });
}

byId("sections").addEventListener("submit", (event) => {
  event.preventDefault();
  if (event.target.id === "rollback" || event.target.id === "rollback-before") {
    const to = event.target.dataset.to ?? byId("rollback-to").value;
    if (!confirm(say("rollBackSure", { release: to.slice(-12) }))) return;
    const served = event.target.dataset.served || null;
    act("/v1/monitor/rollback", { to, served }, (reply) => say("rollBackDone", { release: reply.release.slice(-12) }));
  } else {
    const add = [...event.target.querySelectorAll("[name=add]:checked")].map((box) => box.value);
    const body = { name: byId("create-name").value, parent: byId("create-parent").value || null, add };
    act("/v1/monitor/datasets", body, ({ dataset, run }) => say("createDone", { dataset, run: run.slice(0, 8) }));
  }
});
byId("sections").addEventListener("input", ({ target }) => {
  filled.set(nameOf(target), target.type === "checkbox" ? target.checked : target.value);
});
byId("feedback-section").addEventListener("click", async ({ target }) => {
  if (!target.dataset.review) return;
  const body = { id: target.dataset.id, decision: target.dataset.review };
  await act("/v1/monitor/review", body, ({ decision }) => say(`reviewed_${decision}`));
  await refreshLearning();
});
byId("lora-section").addEventListener("click", async ({ target }) => {
  const id = target.dataset.unload;
  if (!id) return;
  const model = target.closest("tr").querySelector("th").textContent;
  if (!confirm(say("loraUnloadSure", { model }))) return;
  await act(`/v1/lora/${encodeURIComponent(id)}`, null, () => say("loraUnloaded", { model }), remove);
  await refreshLearning();
});
byId("learning-section").addEventListener("click", async ({ target }) => {
  const action = target.dataset.learning;
  if (!action) return;
  if (action === "learn") await act("/v1/learning/learn", {}, ({ run_id }) => say("learningBegun", { run: run_id.slice(0, 8) }));
  else await act("/v1/learning/control", { action, reason: "from the monitor" }, () => say(`learning_${action}`));
  await refreshLearning();
});
byId("refresh").addEventListener("click", () => { tell(""); refresh(); refreshLearning(); });

async function watch() {
  if (!document.hidden && !isBusy()) await refresh();
  setTimeout(watch, 1000 * REFRESH_SECONDS);
}

startPage(() => { tell(""); refresh(); refreshLearning(); });
watch();
refreshLearning();
