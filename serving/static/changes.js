// What a mode did on the way to an answer: candidates given up, steps written again, what was planned.

import { element } from "./page.js";
import { percent, say } from "./words.js";

/** The changes of a finished answer, as its explanation lists them, each with its type. */
export function changesOf(explanation) {
  return ["pruned", "repaired", "planned", "surprises"].flatMap((type) => (explanation?.[type] ?? []).map((change) => ({ type, ...change })));
}

/** Changes as a list; one whose type the page does not know is named and no more. */
export function drawChanges(changes) {
  const list = element("ul", "changes");
  list.append(...changes.map((change) => (draw[change.type] ?? unknown)(change)));
  return list;
}

const draw = {
  branch: ({ candidate, parent, step }) =>
    element("li", "", say("branched", { number: candidate + 1, parent: parent + 1, step })),
  pruned: ({ candidate, step, share_below: share }) => {
    const because = share === null || share === undefined ? "" : say("becauseShare", { percent: percent(share) });
    return element("li", "", say("pruned", { number: candidate + 1, step, because }));
  },
  repaired: ({ step, old, new: fresh, accepted }) => {
    const item = element("li", "", `${say("repaired", { step })} ${say(accepted ? "repairedKept" : "repairedLeft")}`);
    item.append(pair(say("was"), element("del", "", old), say("became"), element("ins", "", fresh || say("nothingWritten"))));
    return item;
  },
  planned: ({ step, expected, written }) => {
    const item = element("li");
    item.append(`${say("planned", { step })} `, element("q", "", expected));
    if (written) item.append(` ; ${say("plannedWritten")} `, element("q", "", written));
    return item;
  },
  surprises: ({ step, expected }) => {
    const item = element("li", "", `${say("surprised", { step })} `);
    item.append(element("q", "", expected));
    return item;
  },
};

const unknown = ({ type }) => element("li", "", say("unknownEvent", { type }));

function pair(firstName, first, secondName, second) {
  const list = element("dl", "pair");
  for (const [name, node] of [[firstName, first], [secondName, second]]) {
    const value = element("dd");
    value.append(node);
    list.append(element("dt", "", name), value);
  }
  return list;
}
