// Calls to the service. Errors carry the problem and its cure.

export class ServiceError extends Error {
  constructor(problem, cure, status) {
    super(problem);
    this.cure = cure;
    this.status = status;
  }
}

function headers() {
  const key = sessionStorage.getItem("key");
  return { "content-type": "application/json", ...(key ? { authorization: `Bearer ${key}` } : {}) };
}

function serviceError(body, status) {
  const { message = `HTTP ${status}`, cure = "" } = body?.error ?? {};
  const problem = cure && message.endsWith(` -> ${cure}`) ? message.slice(0, -cure.length - 4) : message;
  return new ServiceError(problem, cure, status);
}

export async function get(path) {
  const reply = await fetch(path, { headers: headers() });
  const body = await reply.json().catch(() => null);
  if (!reply.ok) throw serviceError(body, reply.status);
  return body;
}

/** Ask one question. `onText` gets the text as it comes; resolves to the `rjepa` field of the last chunk. */
export async function ask(question, { model, mode, candidates, signal, onText }) {
  const reply = await fetch("/v1/chat/completions", {
    method: "POST",
    headers: headers(),
    signal,
    body: JSON.stringify({
      model,
      messages: [{ role: "user", content: question }],
      stream: true,
      rjepa: { mode, num_candidates: candidates },
    }),
  });
  if (!reply.ok) throw serviceError(await reply.json().catch(() => null), reply.status);
  let result = null;
  for await (const data of events(reply.body)) {
    if (data === "[DONE]") break;
    const chunk = JSON.parse(data);
    if (chunk.error) throw serviceError(chunk, 200);
    const text = chunk.choices[0]?.delta?.content;
    if (text) onText(text);
    result = chunk.rjepa ?? result;
  }
  return result;
}

/** The data of each server-sent event. */
async function* events(stream) {
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
