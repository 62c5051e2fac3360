"""Statements as tokens of a student's prompt, requests with all that a session wants to know, and whether they fit its
context. The wording belongs to `prompts`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rjepa.errors import InvalidInputError
from rjepa.students.loading import Student
from rjepa.students.prompts import Message, Tools, encode_prompts, render_conversation, render_prompt
from rjepa.students.sampled import RowRequest


@dataclass(frozen=True)
class EncodedPrompt:
    """A conversation as a student reads it.

    ids: tokens of the prompt. statement: the last user message. ignored: what of the conversation is not read, in
    words.
    """

    ids: tuple[int, ...]
    statement: str
    ignored: tuple[str, ...] = ()


def encode_conversation(student: Student, messages: Sequence[Message], tools: Tools = ()) -> EncodedPrompt:
    """Token ids of a conversation's prompt; it may be longer than the context.

    Raises:
        InvalidInputError: the conversation does not end with a user message, or the chat template cannot be used.
    """
    prompt = render_conversation(student.tokenizer, student.record.prompt, messages, tools)
    (ids,) = encode_prompts(student.tokenizer, student.record.prompt, [prompt.text])
    return EncodedPrompt(tuple(ids), prompt.statement, prompt.ignored)


def count_prompt(student: Student, statement: str) -> int:
    """Tokens of a statement's prompt, also where they are too many."""
    return len(_encode(student, [statement])[0])


def encode_statements(student: Student, statements: Sequence[str]) -> list[list[int]]:
    """Token ids of the prompts of these statements.

    Raises:
        InvalidInputError: a prompt that leaves no room in the context, or no tokens at all.
    """
    prompts = _encode(student, statements)
    for statement, prompt in zip(statements, prompts, strict=True):
        require_room(student, statement, len(prompt))
    return prompts


def require_room(student: Student, statement: str, prompt_tokens: int, prefix_tokens: int = 0) -> None:
    """Refuse a prompt, and what a chain begins with, that leave no room for another token.

    Raises:
        InvalidInputError: so it is, or the prompt has no tokens.
    """
    if not prompt_tokens or prompt_tokens >= student.context_length:
        raise InvalidInputError(
            f"the prompt of {statement[:60]!r} has {prompt_tokens} tokens; {student.record.llm_tag} takes 1 to "
            f"{student.context_length - 1}",
            cure="shorten the problem's statement, or choose a student with a longer context",
        )
    if prompt_tokens + prefix_tokens >= student.context_length:
        raise InvalidInputError(
            f"the prompt of {statement[:60]!r} and {prefix_tokens} tokens of a chain fill the {student.context_length} "
            f"tokens of {student.record.llm_tag}",
            cure="keep less of the chain, or choose a student with a longer context",
        )


def _encode(student: Student, statements: Sequence[str]) -> list[list[int]]:
    prompt_format = student.record.prompt
    texts = [render_prompt(student.tokenizer, prompt_format, statement) for statement in statements]
    return encode_prompts(student.tokenizer, prompt_format, texts)


def prompts_of(student: Student, requests: Sequence[RowRequest]) -> list[tuple[int, ...]]:
    """The tokens of each request's prompt: its own, or the student's prompt of its statement.

    Raises:
        InvalidInputError: a prompt that leaves no room in the context, or no tokens at all.
    """
    unknown = list(dict.fromkeys(one.statement for one in requests if one.prompt_ids is None))
    encoded = dict(zip(unknown, encode_statements(student, unknown), strict=True))
    return [tuple(encoded[one.statement]) if one.prompt_ids is None else one.prompt_ids for one in requests]


def complete_requests(student: Student, requests: Sequence[RowRequest]) -> list[RowRequest]:
    """The requests with their prompts' tokens, and the student's own values where they left those open.

    Raises:
        InvalidInputError: a prompt, with what the chain begins with, that leaves no room in the context or the limit.
    """
    return [
        _completed(student, request, prompt)
        for request, prompt in zip(requests, prompts_of(student, requests), strict=True)
    ]


def _completed(student: Student, request: RowRequest, prompt: tuple[int, ...]) -> RowRequest:
    require_room(student, request.statement, len(prompt), len(request.prefix))
    sampling = student.record.sampling
    limit = sampling.max_new_tokens if request.max_new_tokens is None else request.max_new_tokens
    if limit <= len(request.prefix):
        raise InvalidInputError(
            f"a chain of {len(request.prefix)} tokens cannot go on within {limit}",
            cure="raise max_new_tokens, or keep less of the chain",
        )
    temperature = sampling.temperature if request.temperature is None else request.temperature
    return replace(request, prompt_ids=prompt, max_new_tokens=limit, temperature=temperature)
