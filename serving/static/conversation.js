// The conversation: kept in this tab only, and sent whole with every question.

const PLACE = "conversation";

export const turns = load();

/** A new turn at the end of the conversation. */
export function addTurn(question, mode) {
  const turn = { question, mode, result: null, error: null, stopped: false, scale: null, draft: newDraft() };
  turns.push(turn);
  return turn;
}

/** What is known of an answer while it is being written. */
export function newDraft() {
  return { text: "", energies: [], lanes: [], written: 0, total: 0, changes: [] };
}

/** Messages up to and with the question of a turn; turns without an answer are left out. */
export function messagesFor(turn) {
  const messages = [];
  for (const earlier of turns.slice(0, turns.indexOf(turn))) {
    if (!earlier.result) continue;
    messages.push({ role: "user", content: earlier.question }, { role: "assistant", content: earlier.draft.text });
  }
  return [...messages, { role: "user", content: turn.question }];
}

export function forget() {
  turns.length = 0;
  sessionStorage.removeItem(PLACE);
}

/** Keep the conversation over a reload. Where the browser has no room, candidates of earlier answers go first. */
export function save() {
  const kept = turns.map(({ draft, ...turn }) => ({ ...turn, draft: { ...newDraft(), text: draft.text } }));
  for (let lean = 0; lean <= kept.length; lean += 1) {
    try {
      sessionStorage.setItem(PLACE, JSON.stringify(kept));
      return;
    } catch {
      if (kept[lean]?.result) kept[lean].result = { ...kept[lean].result, candidates: [] };
    }
  }
}

function load() {
  try {
    const found = JSON.parse(sessionStorage.getItem(PLACE)) ?? [];
    // What was being written when the page was left is over.
    for (const turn of found) turn.interrupted = !turn.result && !turn.error && !turn.stopped;
    return found;
  } catch {
    return [];
  }
}

/** Take one event of the service into a draft. */
export function note(draft, event) {
  switch (event.type) {
    case "text":
      draft.text += event.text;
      return;
    case "step_written":
      draft.energies.push(event.energy ?? null);
      return;
    case "candidate_step":
      laneOf(draft, event.candidate).steps.push({ text: event.text, energy: event.energy ?? null });
      return;
    case "candidate_written":
      laneOf(draft, event.index).done = true;
      [draft.written, draft.total] = [event.written, event.total];
      return;
    case "branch":
      laneOf(draft, event.candidate);
      if (event.parent !== null) draft.changes.push(event);
      return;
    case "pruned":
      laneOf(draft, event.candidate).pruned = event.step;
      draft.changes.push(event);
      return;
    default:
      draft.changes.push(event);
  }
}

function laneOf(draft, index) {
  while (draft.lanes.length <= index) draft.lanes.push({ steps: [], done: false, pruned: null });
  return draft.lanes[index];
}
