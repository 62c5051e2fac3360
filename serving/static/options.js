// The mode and its budget, as the service lists them: a new mode or option appears by itself.

import { byId, element } from "./page.js";
import { knows, language, named, say } from "./words.js";

const COMMON = {
  max_tokens: { type: "integer", minimum: 1, default: null },
  seed: { type: "integer", minimum: 0, maximum: Number.MAX_SAFE_INTEGER, default: null },
};
const FIRST = ["num_candidates", "chains", "width"]; // the budget that people change: it stands beside the mode

const LONG_TEXT = 200; // characters that do not fit in one line

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
  byId("tune-mode").textContent = named("mode", mode.name);
  const says = byId("mode-says");
  says.textContent = knows(`says_${mode.name}`) ? say(`says_${mode.name}`) : mode.summary;
  says.lang = knows(`says_${mode.name}`) ? language : "en";
  const entries = Object.entries(mode.options);
  const main = entries.find(([name]) => FIRST.includes(name));
  byId("main-option").replaceChildren(...(main ? [field(...main, "mode")] : []));
  const others = entries.filter((entry) => entry !== main).map((entry) => field(...entry, "mode"));
  byId("options").replaceChildren(...others, ...Object.entries(COMMON).map((entry) => field(...entry, "common")));
}

/** Show mode and budget, or put them away: beside a conversation a phone has no room for them, and a desk always has. */
export function showControls(open) {
  byId("tune").setAttribute("aria-expanded", String(open));
}

/** The request's fields for what is chosen; null where something does not fit, which the browser then says. */
export function chosen() {
  const body = { rjepa: { mode: byId("mode").value } };
  for (const input of document.querySelectorAll("[data-option]")) {
    if (!input.checkValidity()) {
      showControls(true);
      byId("more").open ||= byId("more").contains(input);
      input.reportValidity();
      return null;
    }
    const value = valueOf(input);
    if (value === null) continue;
    if (input.dataset.of === "mode") body.rjepa[input.dataset.option] = value;
    else body[input.dataset.option] = value;
  }
  return body;
}

function valueOf(input) {
  if (input.dataset.other) return input.dataset.other;
  if (input.type === "checkbox") return input.checked;
  if (input.value === "") return null;
  return input.dataset.number ? Number(input.value) : input.value;
}

/** One option from its JSON schema: a number, a choice, or yes and no. Left empty, it is the service's own default. */
function field(name, schema, of) {
  const parts = schema.anyOf ?? [schema];
  const numeric = parts.find((part) => part.type === "integer" || part.type === "number");
  const values = parts.flatMap((part) => part.enum ?? (part.const === undefined ? [] : [part.const]));
  const input = numeric ? numberField(numeric, schema) : values.length ? choiceField(values, schema) : plainField(schema);
  if (language === "en" && schema.description) input.title = schema.description;
  input.dataset.option = name;
  input.dataset.of = of;
  const label = element("label", "option");
  label.append(optionName(name, schema), input);
  if (!numeric || !values.length) return label;
  const both = element("span", "option");
  both.append(label, orElse(input, values[0]));
  return both;
}

function numberField(numeric, schema) {
  const input = element("input", "", "", { type: "number", step: numeric.type === "integer" ? "1" : "any" });
  const low = numeric.minimum ?? numeric.exclusiveMinimum;
  const high = numeric.maximum ?? numeric.exclusiveMaximum;
  if (low !== undefined) input.min = low;
  if (high !== undefined) input.max = high;
  if (typeof schema.default === "number") input.value = schema.default;
  else input.placeholder = say("unset");
  input.dataset.number = "yes";
  return input;
}

function choiceField(values, schema) {
  const input = element("select");
  input.append(...values.map((value) => element("option", "", named("value", String(value)), { value })));
  if (schema.default !== undefined) input.value = schema.default;
  return input;
}

function plainField(schema) {
  if (schema.type === "string" && schema.maxLength > LONG_TEXT) return element("textarea", "", schema.default ?? "", { maxlength: schema.maxLength });
  const input = element("input", "", "", { type: schema.type === "boolean" ? "checkbox" : "text" });
  if (schema.type === "boolean") input.checked = Boolean(schema.default);
  else if (schema.default) input.value = schema.default;
  return input;
}

/** A number that may also be a word, such as "auto": a box to tick beside it. */
function orElse(input, value) {
  const box = element("input", "", "", { type: "checkbox" });
  box.addEventListener("change", () => {
    input.disabled = box.checked;
    if (box.checked) input.dataset.other = value;
    else delete input.dataset.other;
  });
  const label = element("label", "option");
  label.append(box, named("value", value));
  return label;
}

function optionName(name, schema) {
  const known = knows(`option_${name}`);
  return element("span", "", known ? say(`option_${name}`) : schema.title ?? name, { lang: known ? language : "en" });
}
