"""What teachers are asked to do: make up a problem, solve one, file it, give an opinion of a chain.

Each task is one prompt, one structured reply, and one more try with the error named. Nothing here says that a chain is
valid: that is the validators' word, and `is_valid` stays None.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final, TypeVar

from pydantic import BaseModel

from rjepa.files import sha256_json
from rjepa.schemas import ChainOfThought, Difficulty, Problem
from rjepa.teacher.calls import Call, Caller, Message, stop_for
from rjepa.teacher.errors import CallError
from rjepa.teacher.prompts import Trusted, load_prompts, render
from rjepa.teacher.replies import ChainReply, JudgeReply, LabelReply, ProblemReply, ReplyError, read_reply
from rjepa.teacher.settings import Teacher
from rjepa.teacher.syllabus import load_syllabus

Model = TypeVar("Model", bound=BaseModel)

_LONGEST_QUOTE: Final = 8000
"""Characters of a bad reply that are shown to the teacher again."""
_NO_ADVICE_HELPS: Final = ("refused", "content_filter")
"""Why a reply is not asked for again: it would be refused again, and paid for again."""
_SCHEMA_WORDS: Final = frozenset({"type", "items", "enum", "anyOf"})
"""What strict structured output understands of JSON schema, but for `properties`."""


@dataclass(frozen=True)
class Failure:
    """A task that came to nothing, and why, in one machine-readable word."""

    task: str
    teacher: str
    reason: str
    detail: str = ""
    transient: bool = False
    """No answer was received, though the client tried several times: a later run asks again."""


async def make_problem(
    caller: Caller, teacher: Teacher, domain: str, difficulty: Difficulty, number: int
) -> Problem | Failure:
    """A new problem. Its answer is the teacher's claim, kept in `meta.proposed_answer`: it is no gold answer."""
    notions = Trusted(", ".join(load_syllabus().notions(domain)))
    messages = load_prompts().messages(
        "problem", domain=domain, difficulty=Trusted(difficulty), number=number, notions=notions
    )
    reply = await _structured(caller, "problem", teacher, messages, ProblemReply, number)
    if isinstance(reply, Failure):
        return reply
    made, _ = reply
    return Problem(
        problem_id=f"teacher-{sha256_json([domain, made.statement])[:20]}",
        domain=domain,
        source=f"teacher:{teacher.name}",
        difficulty=difficulty,
        statement=made.statement,
        licence=teacher.licence,
        meta={"proposed_answer": made.answer, "teacher_model": teacher.model},
    )


async def solve(caller: Caller, teacher: Teacher, problem: Problem, sample: int) -> ChainOfThought | Failure:
    """One chain for a problem, unjudged."""
    if teacher.reply == "steps":
        messages: tuple[Message, ...] = ({"role": "user", "content": problem.statement},)
    else:
        messages = load_prompts().messages("chain", domain=problem.domain, statement=problem.statement, sample=sample)
    reply = await _structured(caller, "chain", teacher, messages, ChainReply, sample)
    if isinstance(reply, Failure):
        return reply
    worked, at = reply
    chain = worked.plain()
    return ChainOfThought(
        cot_id=f"{problem.problem_id[:150]}/{teacher.name[:40]}/{sample}",
        problem_id=problem.problem_id,
        steps=chain.steps,
        final_answer=chain.final_answer,
        teacher_model=teacher.model,
        source=f"teacher:{teacher.name}",
        created_at=at or datetime.now(UTC),
        meta={"teacher": teacher.name, "sample": sample},
    )


async def label(caller: Caller, teacher: Teacher, problem: Problem) -> LabelReply | Failure:
    """Subdomain and notions of a problem, from the syllabus and nowhere else."""
    syllabus = load_syllabus()
    subdomains = syllabus.subdomains(problem.domain)
    messages = load_prompts().messages(
        "label",
        domain=Trusted(problem.domain),  # the syllabus has it, so it is one of our words
        syllabus=Trusted(syllabus.text(problem.domain)),
        statement=problem.statement,
    )

    def check(reply: LabelReply) -> None:
        if reply.subdomain not in subdomains:
            raise ReplyError("not_in_syllabus", f"subdomain has to be one of: {', '.join(subdomains)}")
        strangers = [notion for notion in reply.notions if notion not in subdomains[reply.subdomain]]
        if strangers:
            allowed = ", ".join(subdomains[reply.subdomain])
            raise ReplyError("not_in_syllabus", f"notions of {reply.subdomain} are: {allowed}")

    given = await _structured(caller, "label", teacher, messages, LabelReply, 0, check)
    return given if isinstance(given, Failure) else given[0]


async def opinion(caller: Caller, teacher: Teacher, problem: Problem, chain: ChainOfThought) -> JudgeReply | Failure:
    """What a teacher thinks of a chain. A label: validators decide."""
    messages = load_prompts().messages(
        "judge", statement=problem.statement, steps=chain.steps, answer=chain.final_answer or ""
    )

    def check(reply: JudgeReply) -> None:
        if reply.first_wrong_step is not None and reply.first_wrong_step > len(chain.steps):
            raise ReplyError("no_such_step", f"there are only {len(chain.steps)} steps")
        if reply.verdict == "right" and reply.first_wrong_step is not None:
            raise ReplyError("contradiction", "a right solution has no first wrong step")

    given = await _structured(caller, "judge", teacher, messages, JudgeReply, 0, check)
    return given if isinstance(given, Failure) else given[0]


async def _structured(
    caller: Caller,
    task: str,
    teacher: Teacher,
    messages: tuple[Message, ...],
    model: type[Model],
    sample: int,
    check: Callable[[Model], None] = lambda reply: None,
) -> tuple[Model, datetime | None] | Failure:
    """Ask, read, and ask once more with what was wrong. Returns the reply and when it was received.

    Raises:
        TeacherError: the endpoint refuses every call.
        BudgetError, StorageError: see `Caller.reply`.
    """
    steps_form = teacher.reply == "steps"
    if steps_form and model is not ChainReply:
        return Failure(task, teacher.name, "writes_steps_only")
    schema = None if steps_form else _strict_schema(model)
    failure = Failure(task, teacher.name, "no_reply")
    for attempt in range(2):
        text = ""
        try:
            reply = await caller.reply(Call(teacher, messages, sample, schema))
            text = reply.text
            structure = read_reply(reply, model, steps_form=steps_form)
            check(structure)
            return structure, reply.at
        except CallError as error:
            if error.final:
                raise stop_for(error, teacher) from None
            return Failure(task, teacher.name, error.reason, error.detail, transient=True)
        except ReplyError as error:
            failure = Failure(task, teacher.name, error.reason, str(error))
        if steps_form or attempt or failure.reason in _NO_ADVICE_HELPS:
            break  # a student that writes steps only does not read advice either
        again = render(load_prompts().ask_again, "ask_again", {"error": failure.detail})
        quoted = {"role": "assistant", "content": text[:_LONGEST_QUOTE]}
        messages = (*messages, *([quoted] if text else []), {"role": "user", "content": again})
    return failure


@cache
def _strict_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema in the subset that strict structured output accepts: every field required, no bounds."""
    return _strict_object(model.model_json_schema())


def _strict_object(node: dict[str, Any]) -> dict[str, Any]:
    kept = {name: _strict(value) for name, value in node.items() if name in _SCHEMA_WORDS}
    if "properties" in node:
        kept["properties"] = {name: _strict(value) for name, value in node["properties"].items()}
        kept["required"] = list(node["properties"])
        kept["additionalProperties"] = False
    return kept


def _strict(node: Any) -> Any:
    if isinstance(node, list):
        return [_strict(one) for one in node]
    return _strict_object(node) if isinstance(node, dict) else node
