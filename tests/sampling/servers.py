"""An OpenAI-compatible server of forty lines that really runs a student, as faulty as a test wants it."""

import contextlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from rjepa.students.generation import sample_chains
from rjepa.students.loading import Student
from rjepa.students.rules import TokenRules
from rjepa.students.sampled import GREEDY, RowRequest, TokenScore
from rjepa.students.session import Session


@dataclass
class Served:
    """How the server behaves, and what it was asked: `failures` answers of 500 first; at most `max_candidates` choices;
    whether it gives log-probabilities, and knows completions; which fields it refuses; whether it takes prompts of
    token ids, how many tokens it names at a place at most, and whether it names any; whether it never answers, and
    `aborted` once whoever asked hung up; whether it draws, or is greedy whatever it is asked, and cannot list its
    models: so is `transformers serve` with a model of a folder; letters of a prompt at most.
    """

    student: Student
    failures: int = 0
    max_candidates: int = 64
    logprobs: bool = True
    completions: bool = True
    refuses: tuple[str, ...] = ()
    token_prompts: bool = True
    most_logprobs: int = 20
    alternatives: bool = True
    tail: str = ""
    stalls: bool = False
    aborted: threading.Event = field(default_factory=threading.Event)
    draws: bool = True
    models: tuple[str, ...] = ("tiny",)
    says_no_models: bool = False
    most_prompt: int = 10_000
    key: str = ""
    url: str = ""
    asked: list[dict[str, Any]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def listed(self) -> tuple[str, ...]:
        """Names of GET /v1/models."""
        return self.models

    def answer(self, path: str, body: dict[str, Any]) -> tuple[int, dict[str, Any] | str]:
        with self.lock:
            self.asked.append(body | {"path": path})
            if self.failures:
                self.failures -= 1
                return 500, {"error": "not now"}
            chat = path == "/v1/chat/completions"
            if not chat and not self.completions:
                return 404, {"error": "no such path"}
            if {*self.refuses} & body.keys():
                return 422, {"error": "unknown fields"}
            if isinstance(body.get("prompt"), list) and not self.token_prompts:
                return 422, {"error": "a prompt is text here"}
            if not chat and body.get("logprobs", 0) > self.most_logprobs:
                return 400, {"error": f"at most {self.most_logprobs} logprobs"}
            if not chat and body.get("logprobs", 0) > 1:
                return 200, {"choices": [self.proposals(body)]}
            prompt = body["messages"][-1]["content"] if chat else body["prompt"]
            if len(prompt) > self.most_prompt:
                return 400, {"error": {"message": "the prompt is too long", "code": 400}}
            return 200, {"choices": self.choices(prompt.removesuffix("\n"), body, chat)}

    def proposals(self, body: dict[str, Any]) -> dict[str, Any]:
        """A greedy completion of any prompt with the most probable tokens, in OpenAI's form."""
        student, tokenizer = self.student, self.student.tokenizer
        ids = body["prompt"] if isinstance(body["prompt"], list) else tokenizer(body["prompt"])["input_ids"]
        rules = TokenRules(top_logprobs=body["logprobs"], ends_at_answer=False)
        request = RowRequest("", 0, GREEDY, max_new_tokens=body["max_tokens"], prompt_ids=tuple(ids), rules=rules)
        with Session(student, capture=False) as session:
            (row,) = session.add([request])
            list(session.run())
            chain = session.chain(row)
        scores = (chain.scores or ())[: len(chain.token_ids)]  # the end of the sequence is not among them
        finish = "stop" if chain.finished else "length"
        if not self.alternatives:
            return {"index": 0, "text": chain.text, "finish_reason": finish}
        by_id = body.get("return_tokens_as_token_ids", False)

        def name(score: TokenScore) -> str:
            return f"token_id:{score.token}" if by_id else score.piece.decode("utf-8", "replace")

        logprobs = {
            "tokens": [name(score) for score in scores],
            "token_logprobs": [score.logprob for score in scores],
            "top_logprobs": [{name(one): one.logprob for one in score.top} for score in scores],
        }
        return {"index": 0, "text": chain.text, "logprobs": logprobs, "finish_reason": finish}

    def choices(self, statement: str, body: dict[str, Any], chat: bool) -> list[dict[str, Any]]:
        greedy = body["temperature"] == 0 or not self.draws
        chains = sample_chains(
            self.student,
            [statement],
            num_candidates=min(body.get("n", 1), self.max_candidates),
            seed=body.get("seed", len(self.asked)),
            temperature=None if greedy else body["temperature"],
            max_new_tokens=body["max_tokens"],
            greedy=greedy,
            capture=False,
        )[0]
        made = []
        for index, chain in enumerate(chains):
            pieces = [self.student.pieces.text([token]) for token in chain.token_ids]
            one: dict[str, Any] = {"index": index, "finish_reason": "stop" if chain.finished else "length"}
            one |= {"message": {"content": chain.text + self.tail}} if chat else {"text": chain.text + self.tail}
            if self.logprobs and "logprobs" in body:
                tokens, values = [*pieces, self.tail], [*chain.token_logprobs, -9.0]
                listed = [{"token": t, "logprob": v} for t, v in zip(tokens, values, strict=True)]
                one["logprobs"] = {"content": listed} if chat else {"tokens": tokens, "token_logprobs": values}
            made.append(one)
        return made[::-1]  # in any order: clients go by the index


@contextlib.contextmanager
def serving(served: Served) -> Iterator[Served]:
    """Serve on a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if served.says_no_models:
                self._send(500, "Internal Server Error")
                return
            self._send(200, {"data": [{"id": name} for name in served.listed]})

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            if served.stalls:
                served.asked.append(body)
                if not self.connection.recv(1):
                    served.aborted.set()
                self.close_connection = True
            elif served.key and self.headers["authorization"] != f"Bearer {served.key}":
                self._send(401, {"error": "who are you?"})
            else:
                self._send(*served.answer(self.path, body))

        def _send(self, status: int, value: dict[str, Any] | str) -> None:
            data = value.encode() if isinstance(value, str) else json.dumps(value).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *arguments: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    served.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
