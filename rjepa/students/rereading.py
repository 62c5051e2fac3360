"""Chains that somebody else wrote, read as if the student had written them: with latents and log-probabilities."""

from collections.abc import Sequence

from rjepa.chains import parse_chain
from rjepa.errors import InvalidInputError
from rjepa.students.extraction import extract_latents
from rjepa.students.loading import Student
from rjepa.students.prompting import encode_statements
from rjepa.students.rescoring import score_chains
from rjepa.students.sampled import SampledChain


def read_chains(student: Student, statements: Sequence[str], texts: Sequence[str]) -> list[SampledChain]:
    """A chain of each text, after the prompt of its statement. One with an answer counts as finished.

    Raises:
        InvalidInputError: a text without words, or one that does not fit the context with its problem.
    """
    for text in texts:
        if not text.strip():
            raise InvalidInputError("a chain is empty", cure="send its text, or a step at least")
    prompts = encode_statements(student, statements)
    ids = [list(row) for row in student.tokenizer(list(texts), add_special_tokens=False)["input_ids"]] if texts else []
    for prompt, row in zip(prompts, ids, strict=True):
        if len(prompt) + len(row) > student.context_length:
            raise InvalidInputError(
                f"the problem and a chain have {len(prompt)} and {len(row)} tokens, {student.record.llm_tag} reads "
                f"{student.context_length}",
                cure="shorten the chain",
            )
    scores, latents = score_chains(student, prompts, ids), extract_latents(student, statements, texts)
    chains, segmentation = [], student.record.segmentation
    for text, row, score, found in zip(texts, ids, scores, latents, strict=True):
        assert found is not None  # it fits the context
        finished = parse_chain(text, segmentation).final_answer is not None
        chains.append(
            SampledChain(
                text, row, score.logprobs, score.self_certainty, finished, found.latents, found.sentences, segmentation
            )
        )
    return chains
