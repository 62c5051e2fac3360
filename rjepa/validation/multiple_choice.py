"""Which option does an answer choose? A letter in any of its usual spellings, or an option's own text.

    read_choice("The answer is (B).", ["Rome", "Paris"])            # "B"
    read_choice("B because of the Seine", ["Rome", "Paris"])        # "B"
    read_choice("paris", ["Rome", "Paris"])                         # "B"

An answer that names two options, a letter with another option's text, or that denies its letter chooses none.
"""

import re
import unicodedata
from collections.abc import Sequence
from string import ascii_uppercase
from typing import Final

from rjepa.validation.answers import answers_match
from rjepa.validation.spelling import plain

_MAX_ANSWER: Final = 2000
_LEAD = re.compile(
    r"^(?:(?:so|thus|therefore|hence|ok|okay|well)\b[\s,]*)?"
    r"(?:(?:i(?:\s+would)?\s+(?:think|believe|choose|pick|select|say|go\s+with)|i['’]d\s+(?:choose|pick|say|go\s+with)|we\s+choose)\b[\s,:]*)?"
    r"(?:it\s+(?:is|must\s+be)\b|it['’]s\b|that\s+is\b)?\s*"
    r"(?:(?:the\s+|my\s+|our\s+)?(?:(?:correct|right|best|final|most\s+likely)\s+)*(?:answer|option|choice|letter)\b"
    r"(?:\s+(?:here\s+)?(?:is|would\s+be|must\s+be))?(?:\s+(?:the\s+)?(?:option|choice|letter))?\b)?\s*[:=]*\s*",
    re.IGNORECASE,
)
_FOREIGN_LEAD = re.compile(
    r"^(?:(?:所以|因此|故)[，,]?\s*)?(?:本题)?(?:正确|最终|最終)?(?:答案|答え|正解|选项|故选|选择|应选|选|정답|답)"
    r"(?:应该|应)?(?:是|为|选|은|는|は)?\s*[:：]?\s*"
    r"|^(?:(?:la|die|le|el|il|a)\s+)?(?:richtige\s+|bonne\s+|правильный\s+)?(?:réponse|respuesta|antwort|lösung|risposta|resposta|ответ)"
    r"(?:\s+(?:correcta|correcte|corretta|correta|finale?|final))?\s*(?:\b(?:est|es|ist|lautet|è|é)\b|[:：])[\s:：]*",
    re.IGNORECASE,
)
_FOREIGN_END = re.compile(r"\s*(?:입니다|이다|です|。|선택)+\s*$")
_LABEL = re.compile(
    r"^(?P<open>[(\[{<«【]\s*)?(?:option\s+)?(?P<letter>[A-Za-z])(?P<close>\s*[)\]}>»】])?"
    r"(?P<mark>\s*[.:,;!。、)\]]+|\s+[-\u2013\u2014=→]+(?=\s)|\s*[\u2013\u2014→])?(?P<rest>(?:\s.*|(?<=\W).*)?)$",
    re.DOTALL | re.IGNORECASE,
)
_LINE_BREAK = re.compile(r"\s*\n\s*")
_NEXT_LINE = " \ue000 "
"""Stands for a line break while the answer is on one line: a letter alone on its line chooses."""
_REASON = re.compile(
    r"^(?:because|since|as|for|due|given|by|which|that\s+is|i\.e\.|is\s+(?:the\s+)?(?:(?:most\s+)?(?:correct|right|best|true|likely|final)\b|"
    r"(?:my|our)\s+answer|answer))",
    re.IGNORECASE,
)
_DENIAL = re.compile(
    r"^[\s(]*(?:\?|(?:option|answer|choice)?\s*(?:is|was|are|would\s+be|can|could|seems?|looks?|must|does|might|may)?\s*"
    r"(?:n['’]t\b|not\b|cannot\b|never\b|wrong\b|incorrect\b|false\b|excluded\b|eliminated\b|ruled\s+out\b|impossible\b|untrue\b)"
    r"|can['’]?t\b|isn['’]?t\b|wasn['’]?t\b|no\b|nor\b|or\b|and\b|and/or\b|vs\b|versus\b|to\b|&|/)",
    re.IGNORECASE,
)
_RETRACTION = re.compile(
    r"\b(?:(?:no|wait|actually|sorry|oops|instead|rather|hmm)\s*[,.:!]|(?:this|that|it|which)\s+(?:is|was|seems)\s+(?:not\s+(?:right|correct|true)|wrong|"
    r"incorrect|false)|(?:correct|right|final|real)?\s*answer\s+(?:is|should\s+be|must\s+be)\s+(?!correct|right)|change\s+my|on\s+second\s+thought)",
    re.IGNORECASE,
)
_OTHER_LABEL = re.compile(
    r"(?:^|(?<=[\s(\[\"'*,;:/]))(?:\(\s*([A-Za-z])\s*\)|\[\s*([A-Za-z])\s*\]|([B-HJ-Z]|A(?=\s*(?:[.,:;)?!]|$|\b(?:is|or|and)\b)))(?=$|[\s.,:;)\]?!'’\"]))"
)
_ANOTHER = re.compile(r"\b(?:option|choice|answer|letter)\s+\(?([A-Za-z])\b")
_PUNCTUATION = re.compile(r"[^\w%$.,/+-]+|[.,](?=\s|$)")
_JOINED = re.compile(
    r"^[(\[]?[A-Za-z][)\].:]{0,2}\s*(?:,|/|or\b|and\b|&|\+)\s*[(\[]?[A-Za-z][)\].:]{0,2}(?=$|\s*(?:,|/|or\b|and\b|&|\.))",
    re.IGNORECASE,
)
_OWN_LABEL = re.compile(r"^\s*[(\[]?(?P<letter>[A-Za-z])[)\].:]\s*(?=\S{2}|\d)")
"""The letter that an option's text may open with itself: `(A) Rome`."""


def read_choice(answer: str, choices: Sequence[str]) -> str | None:
    """The letter (`A` is the first option) that an answer chooses, None where it chooses none or more than one.

    Where an option's text is itself a letter, the letter of the label is meant.
    """
    if len(answer) > _MAX_ANSWER:
        return None
    choices = _without_letters(choices)
    text = _undressed(answer)
    if _JOINED.match(text):
        return None
    label = _LABEL.match(text)
    index = ascii_uppercase.find(label["letter"].upper()) if label else -1
    if label is None or not 0 <= index < len(choices):
        return _by_text(text, choices) or _by_opening_words(text, choices)
    rest, letter = label["rest"].strip(), ascii_uppercase[index]
    marked = bool(label["close"] or (label["mark"] or "").strip() or rest.startswith(_NEXT_LINE.strip()))
    rest = rest.strip(_NEXT_LINE + " .:;,!*_-\u2013\u2014")
    if not rest or _same_text(rest, choices[index]) or _same_text(rest.strip("()[]"), choices[index]):
        return letter
    whole = _by_text(text, choices)
    if whole is not None:
        return whole
    if not (marked or _REASON.match(rest)) or _takes_back(rest) or _names_another(rest, index, choices):
        return None
    return letter


def _without_letters(choices: Sequence[str]) -> Sequence[str]:
    """The options' texts, without the letters A, B, C ... where every one of them opens with its own."""
    labels = [_OWN_LABEL.match(choice) for choice in choices]
    if all(label and label["letter"].upper() == own for label, own in zip(labels, ascii_uppercase, strict=False)):
        return [choice[label.end() :] for choice, label in zip(choices, labels, strict=True) if label is not None]
    return choices


def check_choice(gold: str, choices: Sequence[str], answer: str) -> str:
    """Judge an answer against the gold one, which is a letter or an option's text.

    Returns: `ok`, `wrong_choice`, `unreadable_choice` or `broken_gold` (the gold answer names no option).
    """
    expected = read_choice(gold, choices)
    if expected is None:
        return "broken_gold"
    found = read_choice(answer, choices)
    if found is None:
        return "unreadable_choice"
    return "ok" if found == expected else "wrong_choice"


def _takes_back(rest: str) -> bool:
    """Whether what follows a letter denies it or gives another answer."""
    return _DENIAL.match(rest) is not None or _RETRACTION.search(rest) is not None


def _names_another(rest: str, index: int, choices: Sequence[str]) -> bool:
    """Whether what follows a letter names another option, by its letter or its text."""
    letters = {one.upper() for found in _OTHER_LABEL.findall(rest) for one in found if one}
    letters |= {one.upper() for one in _ANOTHER.findall(rest)}
    if letters & set(ascii_uppercase[: len(choices)]) - {ascii_uppercase[index]}:
        return True
    named = _by_text(plain(rest), choices)
    if named is not None and named != ascii_uppercase[index]:
        return True
    left = _as_words(rest).replace(f" {_as_words(choices[index]).strip()} ", "  ")
    others = [_as_words(choice) for number, choice in enumerate(choices) if number != index]
    return any(other.strip() and other in left for other in others)


def _as_words(text: str) -> str:
    bare = _PUNCTUATION.sub(" ", _one_line(text).casefold())
    return f" {' '.join(bare.split())} "


def _one_line(text: str) -> str:
    return text.replace(_NEXT_LINE.strip(), " ")


def _undressed(answer: str) -> str:
    """Without the sentence, the emphasis and the LaTeX around it; full-width and circled letters plain."""
    text = "".join(
        unicodedata.normalize("NFKC", one) if "\u2460" <= one <= "\u24ff" or "\uff00" <= one <= "\uffef" else one
        for one in answer
    )
    text = re.sub(r"(?i)^([\s*#_]*(?:the\s+)?(?:(?:final|correct)\s+)?answer\s*[*_]*)\s*\n", r"\1: ", text.strip())
    text = _LINE_BREAK.sub(
        _NEXT_LINE, text.replace("**", " ").replace("__", " ").replace("`", " ").replace("\ue000", " ").strip()
    )
    text = plain(re.sub(r"\s+", " ", text).strip())
    for _ in range(2):
        text = _LEAD.sub("", _FOREIGN_LEAD.sub("", text, count=1), count=1).strip()
        text = plain(text)
    return _FOREIGN_END.sub("", text).strip(" .…\"'“”‘’").lstrip(":- ")


def _by_text(text: str, choices: Sequence[str]) -> str | None:
    found = [letter for letter, choice in zip(ascii_uppercase, choices, strict=False) if _same_text(text, choice)]
    return found[0] if len(found) == 1 else None


def _by_opening_words(text: str, choices: Sequence[str]) -> str | None:
    """The option whose words the answer opens with (`Paris, because ...`) where the reason names no other."""
    found = []
    for index, choice in enumerate(choices):
        words = _undressed(choice)
        rest = text[len(words) :]
        if len(words) < 2 or text[: len(words)].casefold() != words.casefold():
            continue
        marked = re.match(r"\s*[.,;:!)]\s+(?=\S)|\s*\ue000|\s+[\u2013\u2014-]\s+", rest)
        reason = rest[marked.end() :] if marked else rest.lstrip()
        if (marked and rest[0] != " ") or (rest[:1] == " " and (marked or _REASON.match(reason))):
            found.append((index, reason))
    if len(found) != 1:
        return None
    index, reason = found[0]
    return None if _takes_back(reason) or _names_another(reason, index, choices) else ascii_uppercase[index]


def _same_text(text: str, choice: str) -> bool:
    return answers_match(_one_line(_undressed(choice)), _one_line(text).rstrip("."))
