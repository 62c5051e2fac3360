// What is served, in the page's head: the release, how it changed, its modes and examples.

import { get, getText } from "./api.js";
import { offerModes } from "./options.js";
import { askForKey, button, byId, element } from "./page.js";
import { day, errorLine, language, named, say } from "./words.js";

const READY_SECONDS = 15;
const WAITING_SECONDS = 2;

export const served = { info: null, locked: false };
let shownRelease = null;

function drawStatus() {
  if (!served.info?.release) {
    byId("status").textContent = served.info?.error ? errorLine(served.info.error) : say("loading");
    return;
  }
  const { carried } = served.info.release;
  const model = carried
    ? say("carried", { model: served.info.model, source: carried.source, share: Number((100 * carried.share).toPrecision(3)) })
    : served.info.model;
  const figures = { model, date: day(1000 * served.info.release.created) };
  byId("status").textContent = say(served.info.error ? "readyOld" : "ready", figures);
  byId("status").title = served.info.release.id;
}

/** Ask what is served. `send` asks an example that is chosen. */
export async function refresh(send) {
  try {
    served.info = await get("/v1/info");
    served.locked = false;
    offerModes(served.info.modes, served.info.max_tokens);
    drawStatus();
    if (served.info.release && served.info.release.id !== shownRelease) {
      shownRelease = served.info.release.id;
      await Promise.all([showExamples(send), showChanges()]);
    }
  } catch (error) {
    served.locked = error.status === 401;
    if (served.locked) askForKey();
    byId("status").textContent = errorLine(error);
  }
}

/** Keep an eye on it. */
export async function watch(send) {
  await refresh(send);
  setTimeout(() => watch(send), 1000 * (served.info?.ready || served.locked ? READY_SECONDS : WAITING_SECONDS));
}

async function showExamples(send) {
  const examples = (await get("/v1/examples")).data;
  byId("examples").replaceChildren(...examples.map(({ domain, statement }) => {
    const made = button("example", "", () => send(statement));
    made.append(element("small", "", named("domain", domain)), element("span", "", statement, { lang: "en" }));
    return made;
  }));
  byId("examples-box").hidden = !examples.length;
}

async function showChanges() {
  const fragment = new DOMParser().parseFromString(await getText(`/v1/monitor/changes?lang=${language}`), "text/html");
  byId("changes-list").replaceChildren(...fragment.body.childNodes);
  byId("changes").hidden = false;
}
