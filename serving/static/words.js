// Words of the page, which the server put into it in one language, and figures in that language's form.

const { words, errors } = JSON.parse(document.getElementById("words").textContent);

export const language = document.documentElement.lang;
const locale = { en: "en-GB", fr: "fr-FR" }[language];

/** A sentence with its {figures} filled in. */
export function say(name, figures = {}) {
  return fill(words[name] ?? name, figures);
}

export const knows = (name) => name in words;

export const number = (value, digits = 2) =>
  value === null || value === undefined || !Number.isFinite(value) ? say("noValue")
    : value.toLocaleString(locale, { minimumFractionDigits: digits, maximumFractionDigits: digits });

export const percent = (value, digits = 0) =>
  value === null || value === undefined ? say("noValue")
    : value.toLocaleString(locale, { style: "percent", maximumFractionDigits: digits });

export const day = (moment) => new Date(moment).toLocaleDateString(locale, { day: "numeric", month: "long", year: "numeric" });

/** A name from a data set, such as a domain, in words where there are some. */
export const named = (kind, name) => (knows(`${kind}_${name}`) ? say(`${kind}_${name}`) : name.replaceAll("_", " "));

/** What a refusal of the service means: {problem, cure} in the page's language, and the service's own words where it
 * has none for them. */
export function explainError({ problem, cure, code, status }) {
  if (language === "en") return { problem: capital(problem), cure: capital(cure), original: null };
  for (const known of errors) {
    if ("code" in known && known.code !== code) continue;
    if ("status" in known && known.status !== status) continue;
    const found = "match" in known ? problem.match(new RegExp(known.match)) : [];
    if (found) return { problem: fill(known.problem, found), cure: fill(known.cure, found), original: null };
  }
  return { problem: say("unknownProblem"), cure: "", original: cure ? `${problem} → ${cure}` : problem };
}

/** The same in one line. */
export function errorLine(error) {
  const { problem, cure } = explainError(error);
  return `${problem} ${cure}`.trim();
}

function fill(text, figures) {
  return text.replace(/\{(\w+)\}/g, (whole, key) => (figures[key] === undefined ? whole : String(figures[key])));
}

function capital(text) {
  const sentence = text.charAt(0).toUpperCase() + text.slice(1);
  return sentence && !/[.!?…]$/.test(sentence) ? `${sentence}.` : sentence;
}
