"""Judge the answer and the steps of a propositional problem. The truth tables live in `rjepa.validation.propositional`.

`meta["premises"]` is a list of formulae. With `meta["conclusion"]` the question is whether it follows: the answer is
yes, no or unknown in one of their spellings. Without one, the answer is a formula that follows from the premises, and
under them is equivalent to the gold answer where there is one.
"""

import re
from typing import Any

from rjepa.validation.propositional import Formula, FormulaError, equivalent, parse_formula, relation

_YES = {"yes", "true", "valid", "entailed", "it follows", "follows", "proved", "entailment"}
_NO = {"no", "false", "contradicted", "contradiction", "disproved"}
_UNKNOWN = {"unknown", "uncertain", "undetermined", "cannot be determined", "neutral", "not determined", "maybe"}
_INVALID = {"invalid", "not entailed", "it does not follow", "does not follow", "not valid"}
_LEAD = re.compile(
    r"^(?:so|thus|hence|therefore|then|we (?:get|have|conclude|know|derive)(?: that)?)[\s,:]+", re.IGNORECASE
)
_TAIL = re.compile(
    r"(?:,?\s+(?:by|from|because|since|using)\b.*|\s*[(\[](?:by|from|premise|given)\b.*)$", re.IGNORECASE
)


def check_answer(meta: dict[str, Any], gold: str | None, answer: str) -> str:
    """`ok`, `wrong_answer`, `not_entailed`, `answer_unparsable` or `broken_check`.

    With a conclusion, an answer that says no is right where the conclusion is contradicted, and, where the gold answer
    is missing or says no (a yes-or-no question), also where it just does not follow.
    """
    try:
        premises = [parse_formula(text) for text in _premises(meta)]
        conclusion = meta.get("conclusion")
        if conclusion is not None:
            return _judge_relation(relation(premises, str(conclusion)), gold, answer)
        wanted = None if gold is None else parse_formula(gold)
        if wanted is not None and relation(premises, wanted) not in ("entailed", "inconsistent_premises"):
            return "broken_check"
    except (FormulaError, TypeError):
        return "broken_check"
    try:
        said = parse_formula(_formula_text(answer))
        if relation(premises, said) not in ("entailed", "inconsistent_premises"):
            return "not_entailed"
        return "ok" if wanted is None or equivalent(wanted, said) else "wrong_answer"
    except FormulaError:
        return "answer_unparsable"


def first_step_not_entailed(meta: dict[str, Any], steps: list[str]) -> int | None:
    """Index of the first step that is a formula over the premises' variables and does not follow from them.

    Steps in prose count as unknown: None means that none can be shown wrong.
    """
    try:
        premises = [parse_formula(text) for text in _premises(meta)]
    except (FormulaError, TypeError):
        return None
    known = frozenset[str]().union(*(premise.variables() for premise in premises))
    for index, step in enumerate(steps):
        said = _step_formula(step)
        if said is not None and said.variables() and said.variables() <= known and _wrong(premises, said):
            return index
    return None


def _wrong(premises: list[Formula], said: Formula) -> bool:
    try:
        return relation(premises, said) in ("contradicted", "undetermined")
    except FormulaError:
        return False


def _judge_relation(found: str, gold: str | None, answer: str) -> str:
    said, wanted = _word(answer), None if gold is None else _word(gold)
    if said is None:
        return "answer_unparsable"
    if found == "inconsistent_premises":
        return "broken_check"
    follows = found == "entailed"
    two_ways = said == "invalid" or wanted in ("no", "invalid", None)
    right = {"entailed": "yes", "contradicted": "no", "undetermined": "unknown"}[found]
    if wanted is not None and wanted != right and (follows or wanted not in ("no", "invalid")):
        return "broken_check"
    ok = said == right or (not follows and said in ("no", "invalid") and two_ways)
    return "ok" if ok else "wrong_answer"


def _word(text: str) -> str | None:
    said = " ".join(text.split()).rstrip(".!").casefold()
    for name, words in (("yes", _YES), ("no", _NO), ("unknown", _UNKNOWN), ("invalid", _INVALID)):
        if said in words:
            return name
    return None


def _premises(meta: dict[str, Any]) -> list[str]:
    premises = meta.get("premises")
    if not isinstance(premises, list) or not premises:
        raise TypeError("premises must be a list of formulae")
    return [str(premise) for premise in premises]


def _step_formula(step: str) -> Formula | None:
    try:
        return parse_formula(_formula_text(step))
    except FormulaError:
        return None


def _formula_text(text: str) -> str:
    """The formula in `So q, by modus ponens.`"""
    return _TAIL.sub("", _LEAD.sub("", text.strip().rstrip("."))).strip()
