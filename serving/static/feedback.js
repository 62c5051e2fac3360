// The box under an answer: a vote is sent at once; with consent, given for this answer alone, its words and a comment too.

import { post, remove } from "./api.js";
import { messagesFor, save } from "./conversation.js";
import { askForKey, button, byId, drawRefusal, element } from "./page.js";
import { say } from "./words.js";

/** The box under an answer; nothing where the service cannot take feedback on it. */
export function drawFeedback(turn) {
  if (!turn.id || !turn.result.ticket) return null;
  turn.feedback ??= { vote: null, kept: false, deleted: false };
  const box = element("div", "feedback");
  fill(box, turn);
  return box;
}

function fill(box, turn) {
  const { vote, kept, deleted } = turn.feedback;
  const votes = element("div", "votes", "", { role: "group", "aria-label": say("feedbackTitle") });
  for (const [name, sign] of [["up", "✓"], ["down", "✗"]]) {
    const made = button("plain vote", "", () => tell(box, turn, { vote: name }, () => { turn.feedback.vote = name; }));
    made.append(element("span", "", sign, { "aria-hidden": "true" }), ` ${say(`vote_${name}`)}`);
    made.setAttribute("aria-pressed", String(vote === name));
    votes.append(made);
  }
  const said = element("p", "said", "", { role: "status" });
  if (deleted) said.textContent = say("contributionDeleted");
  else if (kept) said.textContent = say("contributionKept");
  else if (vote) said.textContent = say("voteTaken");
  box.replaceChildren(votes, said);
  if (kept) box.append(button("plain", say("contributionDelete"), () => forget(box, turn)));
  else if (vote && !deleted) box.append(consentForm(box, turn));
}

function consentForm(box, turn) {
  const words = byId("consent-words");
  const form = element("form", "consent");
  const agree = element("input", "", "", { type: "checkbox", name: "consent" });
  const label = element("label");
  label.append(agree, ` ${words.textContent}`);
  const comment = element("textarea", "", "", { rows: "2", maxlength: "4000", "aria-label": say("comment"), placeholder: say("comment") });
  const send = element("button", "", say("contribute"), { type: "submit" });
  const draw = () => { comment.hidden = send.hidden = !agree.checked; };
  agree.addEventListener("change", draw);
  draw();
  form.append(label, comment, send);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const given = { consent: true, consent_version: words.dataset.version };
    if (comment.value.trim()) given.comment = comment.value.trim();
    tell(box, turn, given, () => { turn.feedback.kept = true; });
  });
  return form;
}

async function tell(box, turn, given, done) {
  const body = { id: turn.id, ticket: turn.result.ticket, ...given };
  try {
    await post("/v1/feedback", body).catch((error) => {
      // The process that answered may be gone: what was asked and answered goes with it.
      if (!given.consent || error.status !== 400) throw error;
      return post("/v1/feedback", { ...body, reply: replyOf(turn), messages: messagesFor(turn) });
    });
    done();
    save();
    fill(box, turn);
  } catch (error) {
    refuse(box, error);
  }
}

async function forget(box, turn) {
  try {
    await remove(`/v1/feedback/${encodeURIComponent(turn.id)}`);
    Object.assign(turn.feedback, { kept: false, deleted: true });
    save();
    fill(box, turn);
  } catch (error) {
    refuse(box, error);
  }
}

const replyOf = (turn) => ({ choices: [{ message: { content: turn.draft.text } }], rjepa: turn.result });

function refuse(box, error) {
  if (error.status === 401) askForKey();
  const said = box.querySelector(".said");
  said.replaceChildren();
  drawRefusal(said, error);
}
