// Words of the page in English and French, and sentences made of figures.

const words = {
  en: {
    skip: "Go to the question", welcome: "Ask a problem with steps to it",
    intro: "The student model writes numbered steps. With rerank, several solutions are sampled and R-JEPA, a world model of the steps, says how surprising each one is; low energy is good.",
    examples: "Problems that this student can attempt", question: "Your problem",
    placeholder: "Write a problem, or choose an example. Enter sends, Shift+Enter makes a new line.",
    mode: "Mode", off: "off", rerank: "rerank", candidates: "Candidates", send: "Send", stop: "Stop",
    language: "Français", languageHint: "Afficher la page en français", theme: "Theme", key: "API key of this service", useKey: "Use this key",
    loading: "loading the release…", ready: "{model} · release {release}", readyOld: "{model} · release {release} · the newer one could not be loaded: {problem}",
    unreachable: "the service does not answer", unreachableCure: "check that `rjepa serve` is running, then send the question again",
    waitingOff: "The student is writing…", waitingRerank: "Sampling {count} candidates and scoring their steps…",
    answer: "Answer", noAnswer: "no answer", cut: "stopped at the token limit", stopped: "Stopped.",
    pCorrect: "P(correct)", seconds: "{value} s", tokens: "{value} tokens", chosen: "chosen", candidate: "Candidate {number}",
    energy: "energy {value}", meanEnergy: "mean energy", logprob: "log-probability", score: "score", votes: "votes", rank: "rank", seed: "seed {value}",
    showCandidates: "The {count} candidates", why: "Why this one: ",
    energyNote: "Energy: how surprising a step is given the steps before it. Bars share one scale within this answer.",
    only_candidate: "it is the only candidate.", no_answer: "no candidate gave an answer; the chain with the best score is shown.",
    unanimous: "every candidate that answered gave the same answer.", best_score: "it has the best score.",
    most_votes: "its answer has the most votes ({votes} of {count}).", most_weight: "its answer has {share} of the weighted vote.",
    unfamiliar: "R-JEPA knows no problems like this one: it was left out of the choice, and how likely the answer is right is unknown.",
    ahead: "It is {margin} ahead of candidate {runner}, the best with another answer{terms}.", term_logprob: "log-probability", term_energy: "energy", term_length: "length",
    domain_math: "maths", domain_code: "code", domain_logic: "logic", problem: "Something went wrong", 
  },
  fr: {
    skip: "Aller à la question", welcome: "Posez un problème qui demande des étapes",
    intro: "Le modèle élève écrit des étapes numérotées. Avec le mode reclasser, plusieurs solutions sont tirées et R-JEPA, un modèle du monde des étapes, dit à quel point chacune surprend ; une énergie basse est bon signe.",
    examples: "Des problèmes que cet élève peut tenter", question: "Votre problème",
    placeholder: "Écrivez un problème, ou choisissez un exemple. Entrée envoie, Maj+Entrée va à la ligne.",
    mode: "Mode", off: "sans", rerank: "reclasser", candidates: "Candidats", send: "Envoyer", stop: "Arrêter",
    language: "English", languageHint: "Show the page in English", theme: "Thème", key: "Clé d'API de ce service", useKey: "Utiliser cette clé",
    loading: "chargement de la version…", ready: "{model} · version {release}", readyOld: "{model} · version {release} · la plus récente n'a pas pu être chargée : {problem}",
    unreachable: "le service ne répond pas", unreachableCure: "vérifiez que `rjepa serve` tourne, puis renvoyez la question",
    waitingOff: "L'élève écrit…", waitingRerank: "Tirage de {count} candidats et notation de leurs étapes…",
    answer: "Réponse", noAnswer: "pas de réponse", cut: "arrêté à la limite de jetons", stopped: "Arrêté.",
    pCorrect: "P(juste)", seconds: "{value} s", tokens: "{value} jetons", chosen: "choisi", candidate: "Candidat {number}",
    energy: "énergie {value}", meanEnergy: "énergie moyenne", logprob: "log-probabilité", score: "score", votes: "voix", rank: "rang", seed: "graine {value}",
    showCandidates: "Les {count} candidats", why: "Pourquoi celui-ci : ",
    energyNote: "Énergie : à quel point une étape surprend, connaissant celles d'avant. Les barres partagent une échelle dans cette réponse.",
    only_candidate: "c'est le seul candidat.", no_answer: "aucun candidat n'a donné de réponse ; la chaîne au meilleur score est montrée.",
    unanimous: "tous les candidats qui ont répondu donnent la même réponse.", best_score: "il a le meilleur score.",
    most_votes: "sa réponse a le plus de voix ({votes} sur {count}).", most_weight: "sa réponse a {share} du vote pondéré.",
    unfamiliar: "R-JEPA ne connaît pas de problèmes comme celui-ci : le choix s'est fait sans lui, et on ne sait pas à quel point la réponse est probable.",
    ahead: "Il devance de {margin} le candidat {runner}, le meilleur avec une autre réponse{terms}.", term_logprob: "log-probabilité", term_energy: "énergie", term_length: "longueur",
    domain_math: "maths", domain_code: "code", domain_logic: "logique", problem: "Quelque chose n'a pas marché",
  },
};

let language = localStorage.getItem("language") ?? (navigator.language.startsWith("fr") ? "fr" : "en");
if (!(language in words)) language = "en";

export const currentLanguage = () => language;

export function switchLanguage() {
  language = language === "en" ? "fr" : "en";
  localStorage.setItem("language", language);
}

/** A word or sentence with its {figures} filled in. An unknown name is shown as it is. */
export function say(name, figures = {}) {
  const text = words[language][name] ?? name;
  return text.replace(/\{(\w+)\}/g, (whole, key) => (key in figures ? String(figures[key]) : whole));
}

export const number = (value, digits = 2) =>
  value === null || value === undefined ? "–" : value.toLocaleString(language, { minimumFractionDigits: digits, maximumFractionDigits: digits });

export const percent = (value) =>
  value === null || value === undefined ? "–" : value.toLocaleString(language, { style: "percent", maximumFractionDigits: 0 });

export const domain = (name) => (`domain_${name}` in words[language] ? say(`domain_${name}`) : name);

/** Why the chosen candidate won, as one or two sentences. */
export function explain(explanation, candidates) {
  const winner = candidates.find((candidate) => candidate.chosen);
  const figures = { votes: winner.votes, count: candidates.length, share: percent(winner.weighted_share) };
  const first = explanation.reason in words[language] ? say(explanation.reason, figures) : explanation.text;
  const stranger = explanation.familiar ? "" : ` ${say("unfamiliar")}`;
  if (explanation.runner_up === null || explanation.margin === null) return first + stranger;
  const parts = Object.entries(explanation.margin_terms).map(
    ([name, value]) => `${say(`term_${name}`)} ${value < 0 ? "−" : "+"}${number(Math.abs(value))}`);
  const terms = parts.length ? ` (${parts.join(", ")})` : "";
  return `${first} ${say("ahead", { margin: number(explanation.margin), runner: explanation.runner_up + 1, terms })}${stranger}`;
}
