"""Take personal data out of a text before anything of it is kept: what has a form, and no more.

E-mail addresses, telephone numbers, payment cards, bank accounts (IBAN), national numbers of the USA and of France,
network addresses, links and secrets of programs are recognised by their form and, where they have one, by their check
digit. Names, street addresses and what can be understood only by reading are not: docs/feedback.md says so to users.

Presidio, which is the usual library for this, needs spaCy, thinc and blis to be imported at all (245 MB, 19 packages),
models or not; phonenumbers and python-stdnum hold the checks that matter here in 2 MB.
"""

import ipaddress
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

Span = tuple[int, int, str]
"""First character, character after the last, kind."""

MAX_LENGTH: Final = 50_000
"""Characters of a text that are looked at, which takes two seconds at worst: what is longer is not kept at all."""

_EMAIL: Final = re.compile(r"[\w.+%-]{1,64}@(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}")
_LINK: Final = re.compile(r"\b(?:(?:https?|ftp)://|www\.)[^\s<>\"']{0,2000}[^\s<>\"'.,;:!?)]", re.IGNORECASE)
_GROUPED: Final = r"(?:[ -]?[0-9]){%s}"
_CARD: Final = re.compile(rf"(?<![\w.-])[0-9]{_GROUPED % '12,18'}(?![\w-])")
_IBAN: Final = re.compile(r"\b[A-Z]{2}[0-9]{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?\b")
_SSN: Final = re.compile(r"(?<![\w-])[0-9]{3}-[0-9]{2}-[0-9]{4}(?![\w-])")
_NIR: Final = re.compile(rf"(?<![\w.-])[1278]{_GROUPED % '4'}[ ]?(?:[0-9]|2[AB]){_GROUPED % '7,9'}(?![\w-])")
_IPV4: Final = re.compile(r"(?<![\w.])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?![\w.]*[0-9])")
_IPV6: Final = re.compile(r"(?<![\w:])(?:[0-9a-fA-F]{0,4}:){2,7}[0-9a-fA-F]{0,4}(?![\w:])")
_SECRET: Final = re.compile(
    r"\b(?:rjepa_[0-9a-f]{12}_[A-Za-z0-9_-]{43}|(?:sk|pk|rk)[-_][A-Za-z0-9_-]{20,200}|gh[pousr]_[A-Za-z0-9]{30,}"
    r"|github_pat_[A-Za-z0-9_]{30,}|hf_[A-Za-z0-9]{30,}|glpat-[A-Za-z0-9_-]{20,}|xox[abposr]-[A-Za-z0-9-]{10,}"
    r"|A[KS]IA[0-9A-Z]{16}|AIza[0-9A-Za-z_-]{35}|eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,})"
)
_REGIONS: Final = ("US", "GB", "FR", "DE", "CA")
"""Whose national ways to write a telephone number are known; with + in front, those of all countries are."""
_COLONS: Final = 3
"""Fewest colons of an IPv6 address: `1::2` is a ratio or a slice in most texts."""
_SEPARATOR: Final = re.compile(r"[ ().\-/]")


@dataclass(frozen=True)
class Redacted:
    """A text without what was recognised, and how many of which kind were taken out."""

    text: str
    found: dict[str, int]


def redact(text: str) -> Redacted:
    """Replace everything recognised by `<KIND>`. What was redacted before stays as it is.

    Raises:
        ValueError: the text is longer than `MAX_LENGTH`.
    """
    if len(text) > MAX_LENGTH:
        raise ValueError(f"a text of {len(text)} characters is too long to be looked through")
    pieces: list[str] = []
    found: Counter[str] = Counter()
    end = 0
    for start, stop, kind in _without_overlaps([span for find in _FINDERS for span in find(text)]):
        pieces += [text[end:start], f"<{kind.upper()}>"]
        found[kind] += 1
        end = stop
    return Redacted("".join([*pieces, text[end:]]), dict(sorted(found.items())))


def _without_overlaps(spans: list[Span]) -> Iterator[Span]:
    """The spans in order; of two that overlap, the one that begins earlier or is longer."""
    end = 0
    for span in sorted(spans, key=lambda span: (span[0], -span[1])):
        if span[0] >= end:
            yield span
            end = span[1]


def _matching(pattern: re.Pattern[str], kind: str, is_real: Callable[[str], bool]) -> Callable[[str], Iterator[Span]]:
    def find(text: str) -> Iterator[Span]:
        return ((match.start(), match.end(), kind) for match in pattern.finditer(text) if is_real(match.group()))

    return find


def _phones(text: str) -> Iterator[Span]:
    """Numbers with + and a country (of a length that it has), and national ones that are written in groups: a problem's
    bare numbers are none.
    """
    from phonenumbers import Leniency, PhoneNumberMatcher

    if not any(character.isdigit() for character in text):
        return
    for match in PhoneNumberMatcher(text, None, leniency=Leniency.POSSIBLE):
        yield match.start, match.end, "phone"
    for region in _REGIONS:
        for match in PhoneNumberMatcher(text, region, leniency=Leniency.STRICT_GROUPING):
            if _SEPARATOR.search(match.raw_string):
                yield match.start, match.end, "phone"


def _is_card(text: str) -> bool:
    from stdnum import luhn

    return bool(luhn.is_valid(re.sub(r"[ -]", "", text)))


def _is_iban(text: str) -> bool:
    from stdnum import iban

    return bool(iban.is_valid(text, check_country=False))


def _is_ssn(text: str) -> bool:
    from stdnum.us import ssn

    return bool(ssn.is_valid(text))


def _is_nir(text: str) -> bool:
    from stdnum.fr import nir

    return bool(nir.is_valid(text))


def _is_address(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).version == 4 or text.count(":") >= _COLONS
    except ValueError:
        return False


_FINDERS: Final[tuple[Callable[[str], Iterator[Span]], ...]] = (
    _matching(_SECRET, "secret", lambda _: True),
    _matching(_LINK, "link", lambda _: True),
    _matching(_EMAIL, "email", lambda _: True),
    _matching(_IBAN, "iban", _is_iban),
    _matching(_CARD, "card", _is_card),
    _matching(_SSN, "national_id", _is_ssn),
    _matching(_NIR, "national_id", _is_nir),
    _matching(_IPV4, "address", _is_address),
    _matching(_IPV6, "address", _is_address),
    _phones,
)
