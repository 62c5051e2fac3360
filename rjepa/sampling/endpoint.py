"""A student whose chains are written by an OpenAI-compatible server (vLLM, SGLang, llama.cpp) that has its weights.

What comes back is text, with log-probabilities where the server gives them. Latents are taken here, by encoding that
text; so are log-probabilities that were not given, and self-certainty, which no server gives. How servers are asked,
and read, is `rjepa.sampling.completions`.
"""

import asyncio
import functools
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import aclosing
from typing import Final, NoReturn

import torch

from rjepa.errors import RjepaError
from rjepa.files import sha256_json
from rjepa.progress import Progress, silent
from rjepa.sampling.completions import (
    CHAT,
    FORMS,
    NOT_THESE_FIELDS,
    ChainQuery,
    RequestForm,
    ServedChain,
    StreamedChain,
    next_form,
    read_chains,
)
from rjepa.sampling.driven import LOOK_SECONDS, driven_alone
from rjepa.sampling.endpoint_session import EndpointSession
from rjepa.sampling.protocol import Capability, ChainSource, DecodingSession, stream_row
from rjepa.sampling.reading import StudentReader, TextReader
from rjepa.students.loading import Student
from rjepa.students.prompting import EncodedPrompt, count_prompt, encode_conversation
from rjepa.students.prompts import TOOLS, Message, Tools, render_prompt
from rjepa.students.sampled import RowRequest, SampledChain
from rjepa.teacher.client import Endpoint
from rjepa.teacher.errors import CallError
from rjepa.teacher.limits import CallUsage
from rjepa.teacher.settings import Teacher

_CONCURRENCY: Final = 16
"""Problems in flight: servers of this kind batch what comes together, and queue the rest."""
_SECONDS: Final = 600.0
"""The longest wait for one attempt: K long chains from a busy server."""
_MAX_RETRIES: Final = 4
"""Attempts of the openai client after the first; it waits longer each time and honours Retry-After."""
_STREAM_SECONDS: Final = 0.005
"""The same while text is shown as it comes: less than a token takes."""

Ready = tuple[int, list[ServedChain] | str]
"""The number of a group, and its chains or a piece of its text."""

_CAPABILITIES: Final = frozenset(
    {
        Capability.CHAINS,
        Capability.STREAM,
        Capability.LOGPROBS,
        Capability.STATES,
        Capability.PREFIX,
        Capability.RULES,
        Capability.ALTERNATIVES,
        Capability.CANCEL,
    }
)


class EndpointError(RjepaError):
    """The server that writes a student's chains cannot be used."""


class EndpointSource:
    """A `rjepa.sampling.protocol.ChainSource` that asks the endpoint of a loaded student's record.

    The server writes the samples of a problem together, so that a chain is no function of its index alone; how far
    equal seeds give equal chains is the server's doing too. Requests that nobody waits for any more are aborted.
    """

    def __init__(self, student: Student, *, retries: int = _MAX_RETRIES, timeout: float = _SECONDS) -> None:
        if student.record.endpoint is None:
            raise ValueError(f"{student.record.llm_tag} has no endpoint")
        self.record, self.fingerprint, self.context_length = student.record, student.fingerprint, student.context_length
        self.device: torch.device | None = student.device
        self.device_reason = student.device_reason
        self.capabilities = _CAPABILITIES
        self.reader: TextReader = StudentReader(student)
        self._student = student
        self._form = FORMS[0]
        self._streams = True  # until the server is found not to
        self._by_steps: ChainSource | None = None
        self.server = Teacher(
            name=student.record.llm_tag,
            base_url=student.record.endpoint,
            model=student.record.served_model or "?",
            api_key=os.environ.get(key_variable(student.record.weights_tag)),
            timeout=timeout,
            max_retries=retries,
            concurrency=_CONCURRENCY,
        )

    @property
    def student(self) -> Student:
        """The student as it is loaded here, to read what the server writes."""
        return self._student

    def by_steps(self) -> ChainSource:
        """The student as its server's proposals let it be written, a few tokens a request."""
        if self._by_steps is None:
            from rjepa.sampling.stepped import SteppedEndpoint  # which is one of these

            self._by_steps = SteppedEndpoint(
                self._student, retries=self.server.max_retries, timeout=self.server.timeout
            )
        return self._by_steps

    def count_prompt(self, statement: str) -> int:
        """Tokens of a statement's prompt."""
        return count_prompt(self._student, statement)

    def encode_conversation(self, messages: Sequence[Message], tools: Tools = ()) -> EncodedPrompt:
        """The last user message alone: the server puts it into its own prompt."""
        whole, last = (encode_conversation(self._student, part) for part in (messages, messages[-1:]))
        earlier = len(messages) - 1
        unread = ("the earlier message" if earlier == 1 else f"{earlier} earlier messages",) if earlier else ()
        return EncodedPrompt(last.ids, whole.statement, (*unread, *([TOOLS] if tools else [])))

    def session(self, *, capture: bool = True, keep_finished: bool = False) -> DecodingSession:
        """A session of whole chains: `rjepa.sampling.endpoint_session`. Nothing is cached here to be kept."""
        return EndpointSession(self._student, self.ask_all, self.capabilities, capture)

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

        Without `capture` there are no latents, and only the log-probabilities that the server gave.

        Raises:
            EndpointError: the server does not answer, or not with chains.
            InvalidInputError: a prompt that leaves no room in the context.
        """
        requests = [
            RowRequest(statement, seed, sample, temperature, max_new_tokens)
            for statement in statements
            for sample in samples
        ]
        with self.session(capture=capture) as session:
            rows = session.add(requests)
            for _ in session.run(tokens=False, steps=False):
                done = sum(session.is_over(row) for row in rows) // len(samples)
                progress(done, len(statements), "from the endpoint")
            found = iter(session.chains(rows))
        return [[next(found) for _ in samples] for _ in statements]

    def stream(
        self,
        statement: str,
        *,
        seed: int,
        sample_index: int = 0,
        temperature: float | None = None,
        max_new_tokens: int | None = None,
    ) -> Iterator[str | SampledChain]:
        """One chain, whose text comes as the server hands it over, then the chain itself."""
        with self.session(capture=False) as session:
            (row,) = session.add([RowRequest(statement, seed, sample_index, temperature, max_new_tokens)])
            yield from stream_row(session, row)

    def close(self) -> None:
        """Nothing runs."""

    def ask_all(
        self, groups: Sequence[Sequence[RowRequest]], rooms: Sequence[int], streams: bool = False
    ) -> Iterator[tuple[int, list[ServedChain] | str] | None]:
        """Ask for the chains of groups of rows that differ in their sample index alone; `rooms` are their limits.

        Yields the number of a group and its chains as they come, in any order, and None now and then while it waits.
        With `streams`, the text of groups of one comes in pieces before. Closing the iterator aborts the requests.

        Raises:
            EndpointError: the server does not answer, or not with chains.
        """
        ready: list[Ready] = []
        queries = [self._query(group[0], room) for group, room in zip(groups, rooms, strict=True)]
        for _ in driven_alone(
            self._ask_each(groups, queries, ready, streams), _STREAM_SECONDS if streams else LOOK_SECONDS
        ):
            while ready:
                yield ready.pop(0)
            yield None
        yield from ready

    def prompt_text(self, request: RowRequest) -> str:
        """A row's prompt, and what its chain begins with, as text."""
        prompt_format, tokenizer = self.record.prompt, self._student.tokenizer
        if request.prompt_ids is not None:
            own = str(tokenizer.decode(list(request.prompt_ids), skip_special_tokens=False))
        else:
            own = render_prompt(tokenizer, prompt_format, request.statement)
            start = tokenizer.bos_token
            if prompt_format.use_chat_template and start and tokenizer("a")["input_ids"][0] == tokenizer.bos_token_id:
                own = own.removeprefix(start)  # the server puts it there too
        return own + self._student.pieces.text(request.prefix)

    def _query(self, request: RowRequest, max_tokens: int) -> ChainQuery:
        prompt_format, text = self.record.prompt, self.prompt_text(request)
        temperature = 0.0 if request.is_greedy else request.temperature or 0.0
        if request.prompt_ids is not None or request.prefix:
            return ChainQuery(text, None, max_tokens, temperature, request.rules)
        messages = [{"role": "system", "content": prompt_format.system}] if prompt_format.system else []
        messages.append({"role": "user", "content": prompt_format.template.replace("{statement}", request.statement)})
        return ChainQuery(text, messages, max_tokens, temperature, request.rules)

    async def _ask_each(
        self,
        groups: Sequence[Sequence[RowRequest]],
        queries: Sequence[ChainQuery],
        ready: list[Ready],
        streams: bool,
    ) -> None:
        server, slots = Endpoint(self.server), asyncio.Semaphore(_CONCURRENCY)

        async def one(number: int) -> None:
            async with slots:
                group, query = groups[number], queries[number]
                if streams and self._streams and len(group) == 1:
                    show = functools.partial(_show, ready, number)
                    chains = [await self._stream(server, model, query, group[0].seed, show)]
                else:
                    chains = await self._ask(server, model, query, len(group), group[0].seed)
            ready.append((number, chains))

        try:
            model = await self.find_model(server)
            first = int(len(groups) > 1 and self._form is FORMS[0])
            for number in range(first):  # alone: it finds out how this server is to be asked
                await one(number)
            async with asyncio.TaskGroup() as tasks:
                for number in range(first, len(groups)):
                    tasks.create_task(one(number))
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None
        finally:
            await server.aclose()

    async def find_model(self, server: Endpoint) -> str:
        """The name that the server knows the student by.

        Raises:
            EndpointError: it cannot be asked, or serves several.
        """
        if self.record.served_model is not None:
            return self.record.served_model
        try:
            served = await server.models()
        except CallError as error:
            if error.reason != "http_500":  # transformers serve, of a model that lies in a folder
                self.refuse(error)
            served = None
        if served is None or len(served) != 1:
            found = "does not say what it serves" if served is None else f"serves {', '.join(served) or 'nothing'}"
            raise EndpointError(
                f"the endpoint {self.record.endpoint} of {self.record.llm_tag} {found}",
                cure="name its model: rjepa llm add TAG ... --endpoint URL --served-model NAME",
            )
        return served[0]

    async def _ask(self, server: Endpoint, model: str, query: ChainQuery, count: int, seed: int) -> list[ServedChain]:
        """`count` chains, in as many requests as it takes: some servers give fewer than they are asked for."""
        chains: list[ServedChain] = []
        form, attempt = self._form, 0
        while len(chains) < count:
            self._check_form(form, query)
            body = form.body(model, query, count - len(chains), _request_seed(seed, attempt, query))
            key = sha256_json([body, attempt, len(chains)])
            try:
                reply = await server.ask(body, key, CallUsage(query.max_tokens), form.path)
                chains += read_chains(reply, query.rules)
                self._keep_form(form)
            except CallError as error:
                form = self._next_form(form, error, query)
            attempt += 1
        return chains[:count]

    async def _stream(
        self, server: Endpoint, model: str, query: ChainQuery, seed: int, show: Callable[[str], None]
    ) -> ServedChain:
        """One chain, whose text is shown as it comes; a server that does not stream is asked as others are."""
        form = self._form
        while True:
            body = form.body(model, query, 1, _request_seed(seed, 0, query))
            body = {name: value for name, value in body.items() if name not in ("n", "logprobs")}
            chain = StreamedChain(query.rules)
            try:
                self._check_form(form, query)
                async with aclosing(server.stream(body, form.path, CallUsage(query.max_tokens))) as chunks:
                    async for chunk in chunks:
                        if piece := chain.add(chunk):
                            show(piece)
                        if chain.over:
                            break
                rest, written = chain.end()
            except CallError as error:
                if error.reason == "not_a_stream":
                    self._streams = False
                    return (await self._ask(server, model, query, 1, seed))[0]
                if chain.text:
                    self.refuse(error)
                form = self._next_form(form, error, query)
            else:
                self._keep_form(form)
                show(rest)
                return written

    def _next_form(self, form: RequestForm, error: CallError, query: ChainQuery) -> RequestForm:
        """The form to try after one that was refused. A chain that has begun cannot go on in a chat: if no other form
        is left, what the server said of its fields is raised.
        """
        following = next_form(form, error.reason)
        begun = query.messages is None
        if following is None or (begun and following.path == CHAT and error.reason in NOT_THESE_FIELDS):
            self.refuse(error)
        return following

    def _keep_form(self, form: RequestForm) -> None:
        """From now on ask in this form, which the server took. A better one is given up here and not where it was
        refused: the fault may have been the question's, of more tokens than the server has room for.
        """
        self._form = max(self._form, form, key=FORMS.index)

    def _check_form(self, form: RequestForm, query: ChainQuery) -> None:
        if query.messages is None and form.path == CHAT:
            raise EndpointError(
                f"the endpoint {self.record.endpoint} of {self.record.llm_tag} has no /completions, so that no chain "
                "can go on from a beginning",
                cure="use a server that offers /v1/completions (vLLM, SGLang, llama.cpp), or another mode",
            )

    def refuse(self, error: CallError) -> NoReturn:
        """Raise EndpointError for what went wrong with a call, with what would mend it."""
        cure = f"start the server, or give its address again: rjepa llm add {self.record.llm_tag} ... --endpoint URL"
        if error.reason in ("http_401", "http_403"):
            cure = f"set {key_variable(self.record.weights_tag)} to the key that it wants"
        elif error.reason in NOT_THESE_FIELDS:
            cure = (
                f"see the server's own words; the student has a context of {self.context_length} tokens, and a server "
                "of fewer refuses what may need more (vllm serve --max-model-len, llama-server -c)"
            )
        raise EndpointError(
            f"the endpoint {self.record.endpoint} of {self.record.llm_tag} writes no chains ({error})", cure=cure
        ) from None


def _show(ready: "list[Ready]", number: int, piece: str) -> None:
    if piece:
        ready.append((number, piece))


def key_variable(llm_tag: str) -> str:
    """The environment variable that holds the key of a student's endpoint; local servers seldom want one."""
    return f"STUDENT_{llm_tag.upper().replace('-', '_').replace('.', '_')}_API_KEY"


def _request_seed(seed: int, attempt: int, query: ChainQuery) -> int:
    digest = hashlib.sha256(f"{seed}/{attempt}/{query.temperature}/{query.prompt}".encode()).digest()
    return int.from_bytes(digest[:4], "little") >> 1
