"""Whether a student with a LoRA may take its base's place: both on the same problems, paired. Pure, but for reading the
frozen candidates of both.

It answers for the students alone, by their greedy chains; what R-JEPA makes of a student's candidates is judged by the
gate of releases (`gate`), which a release of the new student passes besides. Margins and levels are that gate's.
"""

from collections.abc import Sequence
from typing import Final, Literal

import numpy as np
from pydantic import Field

from rjepa.arrays import Bools
from rjepa.errors import InvalidInputError, NotFoundError
from rjepa.evaluation.domains import ALL
from rjepa.files import read_json, write_json
from rjepa.home import Home
from rjepa.latents.rollouts import Rollouts, open_rollouts
from rjepa.releases.findings import LEVEL_BETTER, Finding, find_in
from rjepa.students.catalog import load_record
from rjepa.students.lora.files import lora_folder, open_lora
from rjepa.values import FrozenValue

VERDICT: Final = "gate.json"
"""File in a LoRA's folder with the gate's latest verdict. Training the LoRA again removes it."""

Reason = Literal["better", "worse", "not_better", "too_few_problems", "no_such_claim"]


class StudentDecision(FrozenValue):
    """What the gate decided. `findings`: over all problems first, then by domain; differences are the student's with
    the LoRA minus its base's.
    """

    passed: bool
    reason: Reason
    text: str
    claims: tuple[str, ...] = Field(description="domains in which it has to be better")
    dataset: str
    fingerprint: str = Field(description="of the student with the LoRA")
    base_fingerprint: str
    findings: tuple[Finding, ...]


def judge_student(home: Home, llm_tag: str, dataset: str, claims: Sequence[str] = ()) -> StudentDecision:
    """Judge a student with a LoRA by the frozen test candidates of it and of its base, and keep the verdict.

    Args:
        claims: domains in which it claims to be better, named before the numbers are seen; empty for those of the
            chains that it learnt from.

    Raises:
        NotFoundError: no such student, or one of the two has no rollouts of this dataset version.
        InvalidInputError: it has no LoRA, or the two were judged on different problems.
    """
    record = load_record(home, llm_tag)
    if record.lora is None:
        raise InvalidInputError(f"{llm_tag} has no LoRA", cure="name a student that has one: rjepa lora list")
    lora = open_lora(home, record.lora.base, record.lora.name)
    tuned, base = (open_rollouts(home, tag, dataset).split("test") for tag in (llm_tag, record.lora.base))
    decision = decide(
        *_on_the_same(tuned, base, dataset),
        claims=claims or str(lora.manifest.figures.get("learnt", "")).split(),
        dataset=dataset,
        fingerprints=(tuned.fingerprint, base.fingerprint),
    )
    write_json(lora_folder(home, record.lora.base, record.lora.name) / VERDICT, decision.model_dump(mode="json"))
    return decision


def read_verdict(home: Home, base: str, name: str) -> StudentDecision | None:
    """What the gate said of a LoRA last; None where it was not asked."""
    try:
        return StudentDecision.model_validate(read_json(lora_folder(home, base, name) / VERDICT))
    except NotFoundError:
        return None


def decide(
    tuned: Bools,
    base: Bools,
    domains: Sequence[str],
    *,
    claims: Sequence[str],
    dataset: str,
    fingerprints: tuple[str, str],
) -> StudentDecision:
    """Better in what it claims, worse nowhere: a loss is excluded over all problems and in every other domain.

    Args:
        tuned, base: whether each problem was answered right, `[problems]`.
        domains: of the problems.
        fingerprints: of the two students.
    """
    names = np.array(domains)
    masks = {str(name): names == name for name in np.unique(names)}
    findings = find_in(tuned, base, masks, "improve")
    reason, text = _judge(findings, set(masks), claims)
    return StudentDecision(
        passed=reason == "better",
        reason=reason,
        text=text,
        claims=tuple(claims),
        dataset=dataset,
        fingerprint=fingerprints[0],
        base_fingerprint=fingerprints[1],
        findings=findings,
    )


def _judge(findings: Sequence[Finding], domains: set[str], claims: Sequence[str]) -> tuple[Reason, str]:
    if not claims or not domains >= set(claims):
        claimed_in = ", ".join(claims) or "nothing"
        return "no_such_claim", f"it claims to be better in {claimed_in}; judged were {', '.join(sorted(domains))}"
    # The one domain of a data set is all of it.
    claimed = [one for one in findings if one.domain in claims or (one.domain == ALL and domains == set(claims))]
    others = [one for one in findings if one not in claimed]
    if worse := [one for one in findings if one.is_worse]:
        return "worse", f"it is worse: {_join(worse)}"
    if unclear := [one for one in others if not one.not_worse]:
        return "too_few_problems", f"a loss is not excluded: {_join(unclear)}"
    if weak := [one for one in claimed if one.p_better > LEVEL_BETTER]:
        return "not_better", f"it is not shown to be better where it claims to be: {_join(weak)}"
    return "better", f"it is better where it claims to be, and worse nowhere: {_join(findings)}"


def _on_the_same(tuned: Rollouts, base: Rollouts, dataset: str) -> tuple[Bools, Bools, list[str]]:
    """Whether each is right, and the domains, of the problems whose answers can be judged."""
    if [one.problem_id for one in tuned.problems] != [one.problem_id for one in base.problems] or not tuned.problems:
        raise InvalidInputError(
            f"the two students were judged on different problems of {dataset}, or on none",
            cure=f"make the candidates of both again: rjepa lora gate; {dataset} needs test problems",
        )
    pairs = zip(tuned.problems, tuned.greedy, base.greedy, strict=True)
    judged = [(ours.is_correct, theirs.is_correct, problem.domain) for problem, ours, theirs in pairs]
    known = [one for one in judged if one[0] is not None and one[1] is not None]
    return np.array([one[0] for one in known]), np.array([one[1] for one in known]), [one[2] for one in known]


def _join(findings: Sequence[Finding]) -> str:
    return "; ".join(one.describe() for one in findings)
