"""From what a request holds to the questions that are put to an engine: mode, seed, limits and the number of choices.

Every route that answers goes this way, so that a value means the same on all of them.
"""

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from starlette.requests import Request

from rjepa.reasoning.question import MAX_SEED, InvalidQuestionError, Message, Question, ask
from rjepa.students.prompts import TOOLS
from rjepa.students.rules import MAX_TOP_LOGPROBS
from serving.host import AnswersQuestions
from serving.lenient import Notes
from serving.names import ModelName
from serving.schemas import RjepaOptions

DEFAULT_MODE: Final = "off"
"""A client that knows nothing of R-JEPA gets what any endpoint gives: one chain of the model, as it is written."""

_CANDIDATES: Final = "num_candidates"
"""The option of every mode that chooses among candidates."""

NONE: Final = -1
"""What llama.cpp's users send for a seed of the server's choice, and for no limit."""

_SHORT_BODY: Final = 4096
"""Bytes of a body whose tokens are counted in a millisecond or two."""

Value = TypeVar("Value")


async def prepare(request: Request, engine: AnswersQuestions, work: Callable[[], Value], words: int = 0) -> Value:
    """What `work` makes of a request's body. Beside the event loop where much is read, or where another process is
    asked about it; at once where a thread's way there and back costs more than the work, half of a request's time.

    Args:
        words: characters of the conversation, where it may hold what the body only names.
    """
    if engine.checks_at_once and max(len(await request.body()), words) <= _SHORT_BODY:
        return work()
    return await asyncio.to_thread(work)


@dataclass(frozen=True)
class Wanted:
    """What a request wants, by the words of a question. `sampling` holds what the client named, and nothing else."""

    messages: tuple[Message, ...]
    name: ModelName
    rjepa: RjepaOptions
    sampling: dict[str, Any]
    limit: int | None = None
    seed: int | None = None
    choices: int = 1
    tools: tuple[dict[str, Any], ...] = ()


def make_questions(wanted: Wanted, engine: AnswersQuestions, max_tokens: int, notes: Notes) -> tuple[Question, ...]:
    """The questions of a request: one, or one a choice where the mode has no candidates to take the choices from.

    Args:
        max_tokens: of an answer at most, in this service.
        notes: what was changed is added to it.

    Raises:
        InvalidInputError: they cannot be asked, or this engine cannot answer them.
    """
    from rjepa.reasoning.modes import find_mode  # torch comes with them, and the service is up before it is

    mode = _mode(wanted.name, wanted.rjepa)
    chooses = _CANDIDATES in find_mode(mode).options.model_fields
    sampling = dict(wanted.sampling)
    if chooses and wanted.rjepa.mode is None and sampling.get("temperature") == 0:
        # Their library sends 0 whatever the model: a model's name is all that such a client can choose.
        del sampling["temperature"]
        notes.adjust("temperature", "at 0 all candidates are the same; the student's own was taken")
    if sampling.get("top_logprobs", 0) > MAX_TOP_LOGPROBS:
        sampling["top_logprobs"] = MAX_TOP_LOGPROBS
        notes.adjust("top_logprobs", f"{MAX_TOP_LOGPROBS}, the most that there are")
    options = dict(wanted.rjepa.mode_options)
    count = 1
    if chooses:
        _leave_room(options, find_mode(mode).options.model_fields[_CANDIDATES].default, wanted.choices, notes)
    else:
        count = wanted.choices
    if count > 1:
        sampling.setdefault("temperature", engine.sampling_temperature)  # greedy chains are all the same
    seed = choose_seed(wanted.rjepa.seed if wanted.rjepa.seed is not None else wanted.seed, notes)
    limit = _limit(wanted.limit, max_tokens, notes)
    questions = tuple(
        ask(
            wanted.messages,
            mode,
            options,
            max_tokens=limit,
            seed=(seed + choice) % MAX_SEED,
            tools=wanted.tools,
            strict=True,
            **sampling,
        )
        for choice in range(count)
    )
    if TOOLS in engine.check(questions[0]):
        notes.ignore([TOOLS])
    return questions


def _mode(name: ModelName, rjepa: RjepaOptions) -> str:
    if name.mode is not None and rjepa.mode is not None and name.mode != rjepa.mode:
        raise InvalidQuestionError(
            f"the model {name} names mode {name.mode}, rjepa.mode {rjepa.mode[:40]!r}",
            cure="name the mode once, or the same one twice",
            field="mode",
        )
    return rjepa.mode or name.mode or DEFAULT_MODE


def _leave_room(options: dict[str, Any], default: int, choices: int, notes: Notes) -> None:
    """See to it that there are as many candidates as choices."""
    given = options.get(_CANDIDATES)
    if isinstance(given, int) and given < choices:
        raise InvalidQuestionError(
            f"n asks for {choices} choices of {given} candidates",
            cure=f"ask for {choices} candidates or more, or for fewer choices",
            field=f"options.{_CANDIDATES}",
        )
    if given is None and choices > default:
        options[_CANDIDATES] = choices
        notes.adjust(_CANDIDATES, f"{choices}, as many as n asks for")


def choose_seed(given: int | None, notes: Notes) -> int:
    """The seed of a request that names `given`, or one at random."""
    if given is not None and 0 <= given < MAX_SEED:
        return given
    drawn = secrets.randbelow(2**31)
    if given is None:
        return drawn
    if given == NONE:
        notes.adjust("seed", f"-1 asks for one at random; {drawn} was drawn")
        return drawn
    notes.adjust("seed", f"taken modulo 2^53: {given % MAX_SEED}")
    return given % MAX_SEED


def _limit(given: int | None, most: int, notes: Notes) -> int | None:
    if given == 0:
        raise InvalidQuestionError(
            "max_tokens is 0, and an answer has a token at least",
            cure="ask for 1 token or more, or leave it out",
            field="max_tokens",
        )
    if given == NONE:
        notes.adjust("max_tokens", "-1 asks for no limit; the student's own was taken")
        return None
    if given is not None and given > most:
        notes.adjust("max_tokens", f"{most}, the most that this service gives")
        return most
    return given
