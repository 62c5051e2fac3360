// Calls to the service. Errors carry the problem, its cure and the service's code for it.

export class ServiceError extends Error {
  constructor({ problem, cure = "", code = null, status = 0 }) {
    super(problem);
    Object.assign(this, { problem, cure, code, status });
  }
}

function headers() {
  const key = sessionStorage.getItem("key");
  return { "content-type": "application/json", ...(key ? { authorization: `Bearer ${key}` } : {}) };
}

function refusal(body, status) {
  const { message = `HTTP ${status}`, cure = "", code = null } = body?.error ?? {};
  const problem = cure && message.endsWith(` -> ${cure}`) ? message.slice(0, -cure.length - 4) : message;
  return new ServiceError({ problem, cure, code, status });
}

async function reach(path, options = {}) {
  let reply;
  try {
    reply = await fetch(path, { ...options, headers: headers() });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServiceError({ problem: "the service does not answer", cure: "check that rjepa serve is running", code: "unreachable" });
  }
  if (!reply.ok) throw refusal(await reply.json().catch(() => null), reply.status);
  return reply;
}

export const get = async (path) => (await reach(path)).json();

export const getText = async (path) => (await reach(path)).text();

export const remove = async (path) => (await reach(path, { method: "DELETE" })).json();

export const post = async (path, body) => (await reach(path, { method: "POST", body: JSON.stringify(body) })).json();

/** Ask, and yield what happens: {type: "text", text}, the service's own events as they are, {type: "answer", answer}. */
export async function* ask(body, signal) {
  const reply = await reach("/v1/chat/completions", { method: "POST", signal, body: JSON.stringify({ ...body, stream: true }) });
  for await (const data of serverSentEvents(reply.body)) {
    if (data === "[DONE]") return;
    const chunk = JSON.parse(data);
    if (chunk.error) throw refusal(chunk, 200);
    const text = chunk.choices?.[0]?.delta?.content;
    if (text) yield { type: "text", text };
    if (chunk.rjepa?.event) yield chunk.rjepa.event;
    else if (chunk.rjepa) yield { type: "answer", answer: chunk.rjepa, id: chunk.id };
  }
  throw new ServiceError({ problem: "the answer was cut off", cure: "try again", code: "cut_off" });
}

/** The data of each server-sent event. */
async function* serverSentEvents(stream) {
  const reader = stream.pipeThrough(new TextDecoderStream()).getReader();
  let buffer = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    buffer += value;
    for (let end = buffer.indexOf("\n\n"); end >= 0; end = buffer.indexOf("\n\n")) {
      const lines = buffer.slice(0, end).split("\n");
      buffer = buffer.slice(end + 2);
      const data = lines.filter((line) => line.startsWith("data:")).map((line) => line.slice(5).trimStart()).join("\n");
      if (data) yield data;
    }
  }
}
