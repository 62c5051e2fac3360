"""A student whose chains are written by an OpenAI-compatible server (vLLM, SGLang, llama.cpp) that has its weights.

What comes back is text, with log-probabilities where the server gives them. Latents are taken here, by encoding that
text; so are log-probabilities that were not given, and self-certainty, which no server gives. How servers are asked,
and read, is `rjepa.students.completions`.
"""

import asyncio
import hashlib
import os
from collections.abc import Sequence
from typing import Final

import torch

from rjepa.errors import RjepaError
from rjepa.files import sha256_json
from rjepa.latents.extraction import extract_latents
from rjepa.latents.sampling import WholeChainSampler
from rjepa.progress import Progress, silent
from rjepa.students.completions import WAYS, Asked, Written, next_way, read_chains
from rjepa.students.generation import count_prompt, encode_statements
from rjepa.students.loading import Student
from rjepa.students.prompts import render_prompt
from rjepa.students.rescoring import score_chains
from rjepa.students.sampled import GREEDY, SampledChain
from rjepa.teacher.client import Endpoint
from rjepa.teacher.errors import CallError
from rjepa.teacher.limits import CallUsage
from rjepa.teacher.settings import Teacher

_CONCURRENCY: Final = 16
"""Problems in flight: servers of this kind batch what comes together, and queue the rest."""
_SECONDS: Final = 600.0
"""Of one attempt: K long chains from a busy server."""
_MAX_RETRIES: Final = 4
"""By the openai client, which waits longer each time and honours Retry-After."""


class EndpointError(RjepaError):
    """The server that writes a student's chains cannot be used."""


class EndpointSampler(WholeChainSampler):
    """Samples a loaded student's chains at its record's endpoint. A `rjepa.latents.sampling.Sampler`."""

    def __init__(self, student: Student, *, retries: int = _MAX_RETRIES, timeout: float = _SECONDS) -> None:
        if student.record.endpoint is None:
            raise ValueError(f"{student.record.llm_tag} has no endpoint")
        self.record, self.fingerprint, self.context_length = student.record, student.fingerprint, student.context_length
        self.device: torch.device | None = student.device
        self.device_reason = student.device_reason
        self._student = student
        self._way = WAYS[0]
        self._server = Teacher(
            name=student.record.llm_tag,
            base_url=student.record.endpoint,
            model=student.record.served_model or "?",
            api_key=os.environ.get(key_variable(student.record.llm_tag)),
            timeout=timeout,
            max_retries=retries,
            concurrency=_CONCURRENCY,
        )

    def count_prompt(self, statement: str) -> int:
        """Tokens of a statement's prompt."""
        return count_prompt(self._student, statement)

    def sample(
        self,
        statements: Sequence[str],
        samples: Sequence[int],
        *,
        seed: int,
        temperature: float | None = None,
        max_new_tokens: int | None = None,
        capture: bool = True,
        progress: Progress = silent,
    ) -> list[list[SampledChain]]:
        """Chains of each statement, one for each of `samples`, in order; `GREEDY` is the greedy chain.

        The server writes the samples of a problem together, so that a chain is no function of its index alone; how far
        equal seeds give equal chains is the server's doing too. Without `capture` there are no latents, and only the
        log-probabilities that the server gave.

        Raises:
            EndpointError: the server does not answer, or not with chains.
            InvalidInputError: a prompt that leaves no room in the context.
        """
        prompts = encode_statements(self._student, statements)
        heat = self.record.sampling.temperature if temperature is None else temperature
        limit = self.record.sampling.max_new_tokens if max_new_tokens is None else max_new_tokens
        asked = [
            self._asked(statement, min(limit, self.context_length - len(prompt)), heat)
            for statement, prompt in zip(statements, prompts, strict=True)
        ]
        written = asyncio.run(self._ask_all(asked, samples, seed, progress))
        rooms = [self.context_length - len(prompt) for prompt in prompts]
        chains = [[self._tokenised(one, room) for one in row] for row, room in zip(written, rooms, strict=True)]
        if not capture:
            return [[self._bare(one, ids) for one, ids in row] for row in chains]
        return self._captured(statements, prompts, chains)

    def _asked(self, statement: str, max_tokens: int, temperature: float) -> Asked:
        prompt_format, tokenizer = self.record.prompt, self._student.tokenizer
        prompt = render_prompt(tokenizer, prompt_format, statement)
        start = tokenizer.bos_token
        if prompt_format.use_chat_template and start and tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id:
            prompt = prompt.removeprefix(start)  # the server puts it there too
        messages = [{"role": "system", "content": prompt_format.system}] if prompt_format.system else []
        messages.append({"role": "user", "content": prompt_format.template.replace("{statement}", statement)})
        return Asked(prompt, messages, max_tokens, temperature)

    async def _ask_all(
        self, asked: list[Asked], samples: Sequence[int], seed: int, progress: Progress
    ) -> list[list[Written]]:
        server, slots, done = Endpoint(self._server), asyncio.Semaphore(_CONCURRENCY), 0

        async def one(problem: Asked) -> list[Written]:
            nonlocal done
            async with slots:
                found = iter(await self._ask(server, model, problem, sum(one != GREEDY for one in samples), seed))
                greedy = None
                if GREEDY in samples:
                    cold = Asked(problem.prompt, problem.messages, problem.max_tokens, 0.0)
                    greedy = (await self._ask(server, model, cold, 1, seed))[0]
            done += 1
            progress(done, len(asked), "from the endpoint")
            return [greedy if index == GREEDY and greedy is not None else next(found) for index in samples]

        try:
            model = await self._model(server)
            if len(asked) > 1 and self._way is WAYS[0]:
                first = [await one(asked[0])]  # alone: it finds out how this server is to be asked
            else:
                first = []
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(problem)) for problem in asked[len(first) :]]
            return [*first, *(task.result() for task in tasks)]
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        finally:
            await server.aclose()

    async def _model(self, server: Endpoint) -> str:
        if self.record.served_model is not None:
            return self.record.served_model
        try:
            served = await server.models()
        except CallError as error:
            raise self._failed(error) from None
        if served is None or len(served) != 1:
            found = "does not say what it serves" if served is None else f"serves {', '.join(served) or 'nothing'}"
            raise EndpointError(
                f"the endpoint {self.record.endpoint} of {self.record.llm_tag} {found}",
                cure="name its model: rjepa llm add TAG ... --endpoint URL --served-model NAME",
            )
        return served[0]

    async def _ask(self, server: Endpoint, model: str, asked: Asked, count: int, seed: int) -> list[Written]:
        """`count` chains, in as many requests as it takes: some servers give fewer than they are asked for."""
        chains: list[Written] = []
        turn = 0
        while len(chains) < count:
            way = self._way
            body = way.body(model, asked, count - len(chains), _request_seed(seed, turn, asked))
            try:
                reply = await server.ask(
                    body, sha256_json([body, turn, len(chains)]), CallUsage(asked.max_tokens), way.path
                )
                chains += read_chains(reply)
            except CallError as error:
                following = next_way(way, error.reason)
                if following is None:
                    raise self._failed(error) from None
                self._way = max(self._way, following, key=WAYS.index)
            turn += 1
        return chains[:count]

    def _failed(self, error: CallError) -> EndpointError:
        cure = f"start the server, or give its address again: rjepa llm add {self.record.llm_tag} ... --endpoint URL"
        if error.reason in ("http_401", "http_403"):
            cure = f"set {key_variable(self.record.llm_tag)} to the key that it wants"
        return EndpointError(
            f"the endpoint {self.record.endpoint} of {self.record.llm_tag} writes no chains ({error})", cure=cure
        )

    def _tokenised(self, written: Written, room: int) -> tuple[Written, list[int]]:
        """A chain with its token ids; its end is cut where it is longer here than the server counted."""
        text, ids, kept = written.text, self._ids(written.text), room
        while len(ids) > room:
            text, kept = self._student.pieces.text(ids[:kept]), kept - 1
            ids = self._ids(text)
        return (written if text == written.text else Written(text, False, None)), ids

    def _ids(self, text: str) -> list[int]:
        return list(self._student.tokenizer(text, add_special_tokens=False)["input_ids"])

    def _bare(self, written: Written, ids: list[int]) -> SampledChain:
        segmentation = self.record.segmentation
        return SampledChain(
            written.text, ids, written.logprobs or [], 0.0, written.finished, None, segmentation=segmentation
        )

    def _captured(
        self, statements: Sequence[str], prompts: list[list[int]], chains: list[list[tuple[Written, list[int]]]]
    ) -> list[list[SampledChain]]:
        flat = [(problem, one, ids) for problem, row in enumerate(chains) for one, ids in row]
        scores = score_chains(self._student, [prompts[problem] for problem, _, _ in flat], [ids for _, _, ids in flat])
        found = extract_latents(
            self._student, [statements[problem] for problem, _, _ in flat], [one.text for _, one, _ in flat]
        )
        whole = []
        for (_, one, ids), score, encoded in zip(flat, scores, found, strict=True):
            assert encoded is not None  # it was cut to the context
            logprobs = score.logprobs if one.logprobs is None else one.logprobs
            whole.append(
                SampledChain(
                    one.text,
                    ids,
                    logprobs,
                    score.self_certainty,
                    one.finished,
                    encoded.latents,
                    encoded.sentences,
                    self.record.segmentation,
                )
            )
        each = len(chains[0]) if chains else 1
        return [whole[first : first + each] for first in range(0, len(whole), each)]


def key_variable(llm_tag: str) -> str:
    """The environment variable that holds the key of a student's endpoint; local servers seldom want one."""
    return f"STUDENT_{llm_tag.upper().replace('-', '_').replace('.', '_')}_API_KEY"


def _request_seed(seed: int, turn: int, asked: Asked) -> int:
    digest = hashlib.sha256(f"{seed}/{turn}/{asked.temperature}/{asked.prompt}".encode()).digest()
    return int.from_bytes(digest[:4], "little") >> 1
