// The mode and its budget, as the service lists them: a new mode or option appears by itself.

import { byId, element } from "./page.js";
import { knows, language, named, say } from "./words.js";

const COMMON = {
  max_tokens: { type: "integer", minimum: 1, default: null },
  seed: { type: "integer", minimum: 0, maximum: Number.MAX_SAFE_INTEGER, default: null },
};
const FIRST = ["num_candidates", "candidates"]; // the budget that people change: it stands beside the mode

let modes = [];

/** Draw the modes once they are known; what was chosen stays. */
export function offerModes(all, maxTokens) {
  const listed = all.filter((mode) => mode.offered);
  if (!listed.length || JSON.stringify(listed) === JSON.stringify(modes)) return;
  modes = listed;
  COMMON.max_tokens.maximum = maxTokens;
  const select = byId("mode");
  const before = select.value || sessionStorage.getItem("mode") || "rerank";
  select.replaceChildren(...modes.map((mode) => element("option", "", named("mode", mode.name), { value: mode.name })));
  if (modes.some((mode) => mode.name === before)) select.value = before;
  drawOptions();
}

/** Draw the options of the chosen mode. */
export function drawOptions() {
  const mode = modes.find((known) => known.name === byId("mode").value);
  if (!mode) return;
  sessionStorage.setItem("mode", mode.name);
  const says = byId("mode-says");
  says.textContent = knows(`says_${mode.name}`) ? say(`says_${mode.name}`) : mode.summary;
  says.lang = knows(`says_${mode.name}`) ? language : "en";
  const entries = Object.entries(mode.options);
  const main = entries.find(([name]) => FIRST.includes(name));
  byId("main-option").replaceChildren(...(main ? [field(...main, "mode")] : []));
  const others = entries.filter((entry) => entry !== main).map((entry) => field(...entry, "mode"));
  byId("options").replaceChildren(...others, ...Object.entries(COMMON).map((entry) => field(...entry, "common")));
}

/** The request's fields for what is chosen; null where something does not fit, which the browser then says. */
export function chosen() {
  const body = { rjepa: { mode: byId("mode").value } };
  for (const input of document.querySelectorAll("[data-option]")) {
    if (!input.reportValidity()) return null;
    const value = valueOf(input);
    if (value === null) continue;
    if (input.dataset.of === "mode") body.rjepa[input.dataset.option] = value;
    else body[input.dataset.option] = value;
  }
  return body;
}

function valueOf(input) {
  if (input.type === "checkbox") return input.checked;
  if (input.value === "") return input.dataset.empty ?? null;
  return input.dataset.number ? Number(input.value) : input.value;
}

/** One option from its JSON schema: a number, a choice, or yes and no. Left empty, it is the service's own default. */
function field(name, schema, of) {
  const parts = schema.anyOf ?? [schema];
  const numeric = parts.find((part) => part.type === "integer" || part.type === "number");
  const values = parts.flatMap((part) => part.enum ?? (part.const === undefined ? [] : [part.const]));
  const label = element("label", "option");
  label.append(element("span", "", optionName(name, schema)));
  let input;
  if (numeric) {
    input = element("input", "", "", { type: "number", step: numeric.type === "integer" ? "1" : "any" });
    const low = numeric.minimum ?? numeric.exclusiveMinimum;
    const high = numeric.maximum ?? numeric.exclusiveMaximum;
    if (low !== undefined) input.min = low;
    if (high !== undefined) input.max = high;
    if (typeof schema.default === "number") input.value = schema.default;
    else input.placeholder = say("automatic");
    input.dataset.number = "yes";
    if (values.length) input.dataset.empty = values[0];
  } else if (values.length) {
    input = element("select");
    for (const value of values) input.append(element("option", "", named("value", String(value)), { value }));
    if (schema.default !== undefined) input.value = schema.default;
  } else {
    input = element("input", "", "", { type: schema.type === "boolean" ? "checkbox" : "text" });
    if (schema.type === "boolean") input.checked = Boolean(schema.default);
    else if (schema.default) input.value = schema.default;
  }
  if (language === "en" && schema.description) input.title = schema.description;
  input.dataset.option = name;
  input.dataset.of = of;
  label.append(input);
  return label;
}

const optionName = (name, schema) => (knows(`option_${name}`) ? say(`option_${name}`) : schema.title ?? name);
