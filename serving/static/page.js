// What both pages have: elements, the theme, the key.

import { get } from "./api.js";
import { explainError, say } from "./words.js";

export const byId = (id) => document.getElementById(id);

/** A new element. Text enters a page through textContent only, so that nothing that people or models write is run. */
export function element(tag, className = "", text = "", attributes = {}) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

export function button(className, text, onClick) {
  const made = element("button", className, text, { type: "button" });
  made.addEventListener("click", onClick);
  return made;
}

/** Problem and cure of a refusal; the service's own English words stay apart where the page speaks another language. */
export function drawRefusal(box, error) {
  const { problem, cure, original } = explainError(error);
  box.append(element("p", "problem", problem));
  if (cure) box.append(element("p", "cure", cure));
  if (original) {
    const details = element("details", "original");
    details.append(element("summary", "", say("originalMessage")), element("p", "", original, { lang: "en" }));
    box.append(details);
  }
}

/** Ask for a key, and say why. The field keeps what is in it. */
export function askForKey() {
  const wrong = sessionStorage.getItem("key") !== null;
  const sentence = say(wrong ? "keyWrong" : "keyNeeded");
  byId("key-box").open = true;
  if (byId("key-said").textContent !== sentence) byId("key-said").textContent = sentence; // said once, not at each try
  byId("key-said").className = wrong ? "bad" : "";
  byId("key").setAttribute("aria-invalid", String(wrong));
}

/** Wire the theme and the key; `onKey` is called once a good key is there. */
export function startPage(onKey) {
  byId("theme").addEventListener("click", () => {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    document.cookie = `rjepa_theme=${root.dataset.theme}; path=/; max-age=31536000; samesite=strict`;
  });
  byId("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    useKey(byId("key").value.trim(), onKey);
  });
  byId("forget-key").addEventListener("click", () => {
    sessionStorage.removeItem("key");
    byId("key").value = "";
    byId("key").removeAttribute("aria-invalid");
    byId("key-said").textContent = say("keyForgotten");
    byId("key-said").className = "";
  });
}

async function useKey(key, onKey) {
  sessionStorage.setItem("key", key);
  try {
    await get("/v1/info");
  } catch (error) {
    if (error.status === 401) {
      askForKey();
      byId("key").focus();
    } else {
      byId("key-said").textContent = say("keyUnclear", { problem: explainError(error).problem });
    }
    return;
  }
  byId("key").value = "";
  byId("key").setAttribute("aria-invalid", "false");
  byId("key-said").textContent = say("keyGood");
  byId("key-said").className = "";
  byId("key-box").open = false;
  onKey();
}
