"""Does a text state an equation, or only ask, suppose, report or take it back? By the words around it.

Whether the equation is right is judged in `rjepa.validation.equations`. In doubt it is not stated.
"""

import re
from typing import Final

_SENTENCE_END = re.compile(r"[.!?](?=[\s)\"'”’]|$)|\n|;\s")
_CLAUSE_END = re.compile(r"[,:]\s|\b(?:then|so|because|therefore|thus|hence|and)\b|\)", re.IGNORECASE)

_SUPPOSED = re.compile(
    r"\b(?:if|suppose|supposing|supposed|assum(?:e|es|ed|ing)|imagine|let['’]s\s+say|unless|whether|pretend|provided|hypothetically|"
    r"guess(?:ed|ing)?|try(?:ing)?|test(?:ing)?|check(?:ing)?|verify(?:ing)?|were\s+to|what\s+about|how\s+about|maybe|perhaps|possibly|might)\b",
    re.IGNORECASE,
)
_ASKED = re.compile(
    r"^\W*(?:but\s+|and\s+|so\s+|wait,?\s+|hmm,?\s+)?(?:is|are|does|do|did|can|could|should|would|why|how\s+come)\b",
    re.IGNORECASE,
)
_REPORTED = re.compile(
    r"\b(?:claim(?:s|ed)?|sa(?:ys|id)|th(?:inks|ought|ink\s+that)|might\s+think|believe[sd]?|wr(?:ites|ote|itten)|mistakenly|wrongly|"
    r"incorrectly|erroneously|falsely|at\s+first|initially|previously|earlier|originally|mistake|misread|contradiction|"
    r"(?:wrong|incorrect|false)\s+(?:to|that)|is\s+(?:wrong|incorrect|false)|instead\s+of|rather\s+than|tempt(?:ed|ing))\b",
    re.IGNORECASE,
)
_DENIED_BEFORE = re.compile(
    r"(?:\b(?:not|cannot|never|no\s+way)|n['’]t)\s+(?:be\s+)?"
    r"(?:(?:true|right|correct|the\s+case|that|have|equal|say|claim|write|get|mean|hold)\b|[-\d(=]|$)|≠",
    re.IGNORECASE,
)
_NOT_RIGHT: Final = (
    r"(?:not|n['’]t|never)\s+(?:be\s+|seem\s+|look\s+)?(?:right|correct|true|equal|valid|possible|what|this|that|it|so|quite|work|hold|match|fit|"
    r"make|add|check|the\s+(?:right|correct|case|answer))\b"
)
_DENIED_AFTER = re.compile(
    rf"\b(?:wrong(?!\s+(?:answer|question|one|guess|turn|way)s?\b)|incorrect(?!\s+\w+s\b)|false(?!\s+\w+s\b)|untrue|mistake\w*|mistaken|errors?|erroneous|contradict\w*|impossible|absurd|invalid|nonsense|oops|nope|"
    rf"fails|misread|but\s+(?:it|that|this)\b|is\s+what\s+i\b|my\s+first\s+(?:guess|try|attempt)|should\s+(?:be|have\s+been)|can(?:not|['’]t)\s+be|cannot)\b|{_NOT_RIGHT}|[,(\u2013\u2014-]\s*(?:no|not)\b(?!\s+\w+ing\b)|[✗✘❌×]\s*$|"
    r"\bwait\b|\(\?\)|≠",
    re.IGNORECASE,
)
_TAKEN_BACK = re.compile(
    rf"^\W*(?:(?:but|however|hmm|well|oh|so)\b[\s,]*)?(?:no\s*(?:[,.!:;\u2013\u2014-]|$)|nope|wait\b|oops|hmm|hold\s+on|sorry|scratch\s+that|strike\s+that|"
    rf"correction|actually\b|wrong\b|incorrect\b|false\b|(?:my|a)\s+mistake|i\s+(?:made|was\s+wrong|misread|miscalculated|mean)|let\s+me\s+(?:re|correct|fix|check|try)|"
    rf"(?:but\s+)?(?:that|this|it|which|the\s+(?:equation|sum|product|result|statement))\b(?:['’]s)?[^.!?\n]{{0,40}}?(?:{_NOT_RIGHT}|\b(?:wrong|incorrect|false|"
    rf"untrue|invalid|mistaken|an?\s+(?:error|mistake))\b))|^[^.!?\n]*\b(?:contradict\w*|impossible|absurd)\b",
    re.IGNORECASE,
)
_HYPOTHESIS = re.compile(
    r"^\W*(?:if|suppose|assume|imagine|let['’]s\s+say)\b[^.!?\n=]*\d\s*[-+*/×÷]\s*\d[^.!?\n=]*=", re.IGNORECASE
)
_CONSEQUENCE = re.compile(r"^\W*(?:then|so|this\s+would|that\s+would|in\s+that\s+case|but\s+then)\b", re.IGNORECASE)


def is_stated(text: str, sign: int, end: int) -> bool:
    """Whether an equation is stated where it stands.

    Args:
        text: the whole step.
        sign: where its sign of equality stands.
        end: where the first token of its right side ends.
    """
    opening = _sentence_start(text, sign)
    closing = _SENTENCE_END.search(text, end)
    after_end = closing.end() if closing else len(text)
    if closing is not None and closing[0] == "?":
        return False
    before, after = text[opening:sign], text[end : closing.start() if closing else len(text)]
    if _struck_out(text, sign) or _ASKED.match(before):
        return False
    clause = _last_clause(before)
    if _SUPPOSED.search(clause) or _REPORTED.search(clause) or _DENIED_BEFORE.search(clause):
        return False
    if (
        _HYPOTHESIS.match(before)
        or _REPORTED.search(before[: len(before) - len(clause)])
        or _DENIED_AFTER.search(after)
    ):
        return False
    if _TAKEN_BACK.match(text[after_end : after_end + 200]):
        return False
    earlier = text[_sentence_start(text, max(opening - 2, 0)) : opening] if opening else ""
    return not (_HYPOTHESIS.match(earlier) and _CONSEQUENCE.match(before))


def _sentence_start(text: str, at: int) -> int:
    ends = [match.end() for match in _SENTENCE_END.finditer(text, 0, at)]
    return ends[-1] if ends else 0


def _last_clause(before: str) -> str:
    """The clause that an equation stands in, as far as it goes before the sign."""
    ends = [match.end() for match in _CLAUSE_END.finditer(before)]
    return before[ends[-1] :] if ends else before


def _struck_out(text: str, at: int) -> bool:
    return text[:at].count("~~") % 2 == 1 and "~~" in text[at:]
