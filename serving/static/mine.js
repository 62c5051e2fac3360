// What is kept of the reader: shown, exported, deleted; and the way out of all of it.

import { get, getText, post, remove } from "./api.js";
import { askForKey, button, byId, drawRefusal, element } from "./page.js";
import { day, say } from "./words.js";

const SHOWN = 50;

export function watchMine() {
  byId("mine").addEventListener("toggle", () => { if (byId("mine").open) draw(); });
}

async function draw() {
  const box = byId("mine-list");
  try {
    const me = await get("/v1/me");
    const lines = (await getText("/v1/me/contributions")).split("\n").filter(Boolean);
    box.replaceChildren(...parts(me, lines));
  } catch (error) {
    if (error.status === 401) askForKey();
    box.replaceChildren();
    drawRefusal(box, error);
  }
}

function parts(me, lines) {
  const kept = lines.map((line) => JSON.parse(line)).filter(({ content }) => content);
  const found = [element("p", "", say(kept.length ? "mineCount" : "mineNone", { count: kept.length }))];
  if (kept.length) {
    const list = element("ul", "contributions");
    list.append(...kept.reverse().slice(0, SHOWN).map(contribution));
    found.push(list);
  }
  const actions = element("p", "actions");
  if (lines.length) {
    // Everything, tombstones too.
    const link = element("a", "switch", say("mineExport"), { download: "rjepa-contributions.jsonl" });
    link.href = `data:application/x-ndjson,${encodeURIComponent(`${lines.join("\n")}\n`)}`;
    actions.append(link);
  }
  if (kept.length) {
    actions.append(button("plain", say("mineDelete"), () => {
      if (confirm(say("mineDeleteSure", { count: kept.length }))) act(() => remove("/v1/me/contributions"));
    }));
  }
  const label = element("label", "opt-out");
  const box = element("input", "", "", { type: "checkbox" });
  box.checked = me.opted_out;
  box.addEventListener("change", () => act(() => (box.checked ? post("/v1/me/opt-out", {}) : remove("/v1/me/opt-out"))));
  label.append(box, ` ${say("mineOptOut")}`);
  return [...found, actions, label];
}

function contribution(one) {
  const item = element("li");
  const asked = one.content.messages.at(-1).content;
  const vote = one.vote ? ` ${one.vote === "up" ? "✓" : "✗"}` : "";
  item.append(
    element("span", "note", `${day(one.kept_at_ms)}${vote}`),
    element("span", "text", asked.length > 120 ? `${asked.slice(0, 120)}…` : asked),
    button("plain", say("contributionDelete"), () => act(() => remove(`/v1/feedback/${encodeURIComponent(one.id)}`))),
  );
  return item;
}

async function act(work) {
  try {
    await work();
  } catch (error) {
    if (error.status === 401) askForKey();
    drawRefusal(byId("mine-list"), error);
    return;
  }
  await draw();
}
