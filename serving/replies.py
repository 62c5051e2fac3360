"""What replies have in common: choices, usage and the `rjepa` field. Each route puts them into a shape of its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rjepa.reasoning.answer import Answer, CandidateReport
from rjepa.reasoning.question import Question
from rjepa.reasoning.tokens import TokenReport
from serving.host import AnswersQuestions
from serving.lenient import Notes


@dataclass(frozen=True)
class Answered:
    """An answer with the question that it is of, the engine that gave it, and what was noted on the way."""

    question: Question
    answer: Answer
    engine: AnswersQuestions
    notes: Notes
    keep_question: bool = False


@dataclass(frozen=True)
class Choice:
    """One of the texts that a client asked for."""

    text: str
    finished: bool
    rjepa: dict[str, Any]
    tokens: tuple[TokenReport, ...] | None = None

    @property
    def finish_reason(self) -> str:
        return "stop" if self.finished else "length"


def choices_of(answered: Answered, count: int) -> list[Choice]:
    """The answer, and after it the best of the other candidates, up to `count`."""
    answer = answered.answer
    chosen = Choice(answer.text, answer.finished, rjepa_field(answered), answer.scored_tokens)
    others = sorted((one for one in answer.candidates if not one.chosen), key=_rank)
    return [chosen, *(_choice(one) for one in others[: count - 1])]


def rjepa_field(answered: Answered) -> dict[str, Any]:
    """Everything about an answer beyond its text, what was ignored and adjusted of its request, and its receipt."""
    answer, notes = answered.answer, answered.notes
    receipt = answered.engine.receipt(answered.question, answer, keep_question=answered.keep_question)
    return answer.model_dump(mode="json", exclude={"text", "scored_tokens"}) | {
        "ignored": list(dict.fromkeys([*notes.ignored, *answer.ignored])),
        "adjusted": list(notes.adjusted.values()),
        "receipt": receipt.model_dump(mode="json"),
    }


def usage_of(answers: Sequence[Answer]) -> dict[str, int]:
    """Tokens of every candidate count: they were all generated. The prompt of several choices is read once."""
    prompt = answers[0].prompt_tokens
    generated = sum(answer.cost.tokens_generated for answer in answers)
    return {"prompt_tokens": prompt, "completion_tokens": generated, "total_tokens": prompt + generated}


def logprob_of(token: TokenReport) -> dict[str, Any]:
    """A token with its log-probability and the most probable ones of its place, as OpenAI writes them."""
    return _scored(token) | {"top_logprobs": [_scored(one) for one in token.top]}


def _scored(token: TokenReport) -> dict[str, Any]:
    return {"token": token.text, "logprob": token.logprob, "bytes": list(token.bytes)}


def _choice(candidate: CandidateReport) -> Choice:
    return Choice(candidate.text, candidate.finished, {"candidate": candidate.index}, candidate.scored_tokens)


def _rank(candidate: CandidateReport) -> int:
    return candidate.rank
