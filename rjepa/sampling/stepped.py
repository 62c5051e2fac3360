"""An endpoint's student written step by step: what its server offers of a session that pauses, forks and is biased.

Costs more than whole chains do: a request for every few tokens of every row. So modes that can do without get the
endpoint as it is (`rjepa.sampling.protocol.source_for`). Choosing among a server's proposals is
`rjepa.sampling.stepped_session`'s.
"""

import asyncio
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Final

import numpy as np

from rjepa.errors import InvalidInputError
from rjepa.files import sha256_json
from rjepa.sampling.completions import COMPLETIONS, NOT_THESE_FIELDS, NOT_THIS_PATH
from rjepa.sampling.driven import LOOK_SECONDS, driven
from rjepa.sampling.endpoint import EndpointSource
from rjepa.sampling.proposals import FORMS, Proposal, ProposalForm, TokenNames, read_proposals
from rjepa.sampling.protocol import Capability, ChainSource, DecodingSession
from rjepa.sampling.stepped_session import SteppedSession
from rjepa.students.loading import Student
from rjepa.students.sampled import RowRequest
from rjepa.teacher.client import Endpoint
from rjepa.teacher.errors import CallError
from rjepa.teacher.limits import CallUsage

AHEAD: Final = 16
"""Tokens that a server proposes at a time: about a step. Those behind the first that is not taken are thrown away."""


class SteppedEndpoint(EndpointSource):
    """The same source with sessions that pause, fork and are biased."""

    def __init__(self, student: Student, *, retries: int, timeout: float) -> None:
        super().__init__(student, retries=retries, timeout=timeout)
        self.capabilities = frozenset(Capability) - {Capability.EDIT}
        self.form = FORMS[0]

    @cached_property
    def names(self) -> TokenNames:
        """What the server's names of tokens mean."""
        return TokenNames(self.student)

    def by_steps(self) -> ChainSource:
        """Itself."""
        return self

    def session(self, *, capture: bool = True, keep_finished: bool = False) -> DecodingSession:
        """A session whose connections are its own. Nothing is cached here to be kept."""
        asking = _Asking(self)
        return SteppedSession(self.student, asking.propose, asking.close, capture)


class _Asking:
    """The requests of one session, over one pool of connections."""

    def __init__(self, source: SteppedEndpoint) -> None:
        self._source = source
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: Endpoint | None = None
        self._model = ""

    def propose(self, standing: Sequence[tuple[RowRequest, int]]) -> Iterator[tuple[int, list[Proposal]] | None]:
        """As `rjepa.sampling.stepped_session.Propose`.

        Raises:
            EndpointError: the server does not answer, or names no tokens beside those that it writes.
        """
        if self._loop is None:
            self._loop, self._server = asyncio.new_event_loop(), Endpoint(self._source.server)
        ready: list[tuple[int, list[Proposal]]] = []
        for _ in driven(self._loop, self._ask_each(standing, ready), LOOK_SECONDS):
            while ready:
                yield ready.pop(0)
            yield None
        yield from ready

    def close(self) -> None:
        """Close every connection."""
        if self._loop is not None and self._server is not None:
            self._loop.run_until_complete(self._server.aclose())
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()
        self._loop = self._server = None

    async def _ask_each(
        self, standing: Sequence[tuple[RowRequest, int]], ready: list[tuple[int, list[Proposal]]]
    ) -> None:
        assert self._server is not None  # `propose` has opened it
        slots = asyncio.Semaphore(self._source.server.concurrency)

        async def one(index: int) -> None:
            async with slots:
                request, room = standing[index]
                ready.append((index, await self._ask(request, min(room, AHEAD))))

        self._model = self._model or await self._source.find_model(self._server)
        try:
            async with asyncio.TaskGroup() as tasks:
                for index in range(len(standing)):
                    tasks.create_task(one(index))
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def _ask(self, request: RowRequest, most: int) -> list[Proposal]:
        """What comes next, in the best form that the server takes; that is found out once."""
        assert self._server is not None
        ids = (*(request.prompt_ids or ()), *request.prefix)
        form = self._source.form
        while True:
            body = form.body(self._model, ids, self._source.prompt_text(request), most)
            try:
                reply = await self._server.ask(body, sha256_json(body), CallUsage(most), COMPLETIONS)
                proposals, ended = read_proposals(reply, self._source.names)
            except CallError as error:
                form = self._next_form(form, error)
                continue
            self._source.form = form
            if ended:
                proposals.append(self._end())
            if not proposals:
                self._source.refuse(CallError("unknown_token", "it names a token that the student does not have"))
            return proposals

    def _next_form(self, form: ProposalForm, error: CallError) -> ProposalForm:
        """The form to try after one that was refused. None is left for good before another has been taken: what was
        refused may be this prompt.
        """
        record = self._source.record
        if error.reason in NOT_THIS_PATH:
            raise InvalidInputError(
                f"the endpoint {record.endpoint} of {record.llm_tag} has no /completions, so that no chain can be "
                "written step by step",
                cure="use a server that offers /v1/completions (vLLM, SGLang, llama.cpp), or mode rerank",
            )
        if error.reason == "no_alternatives":
            raise InvalidInputError(
                f"the endpoint {record.endpoint} of {record.llm_tag} gives no log-probabilities of the most probable "
                "tokens, among which this mode would choose",
                cure="use a server that does (vLLM, SGLang, llama.cpp), or mode rerank",
            )
        left = FORMS[FORMS.index(form) + 1 :]
        if error.reason not in NOT_THESE_FIELDS or not left:
            self._source.refuse(error)
        return left[0]

    def _end(self) -> Proposal:
        """The end of the sequence as the server's only proposal: how probable it was, servers do not say."""
        ends = self._source.student.eos_ids
        if not ends:
            self._source.refuse(CallError("unknown_end", "it ended a chain, which the student has no token for"))
        return Proposal(np.array([min(ends)]), np.zeros(1, dtype=np.float32), min(ends))
