r"""Backslashes in a teacher's JSON: read a text as its writer meant it, or refuse it. Never change it silently.

A model that writes LaTeX with single backslashes into JSON writes valid JSON of another meaning: `\frac` is a form feed
and "rac", `\times` a tab and "imes", `\neq` a line break and "eq". What decides here:

- no text means a backspace or a form feed, so `\b` and `\f` are a backslash and a letter;
- an escape that JSON does not have (`\sqrt`, `\(`) is a backslash, and shows that the writer does not double them;
- `\n`, `\r` or `\t` that begins the name of a LaTeX command is that command. Some are a word or a variable after a line
  break as well (`\nu`: nu, or a line break and u), and any letters with a brace behind them may be somebody's command.
  Then the rest of the reply decides: a writer that doubles its backslashes means a line break, one that does not means
  the command. Where nothing shows which, the reply is refused;
- `\\` is two backslashes where the writer shows that it does not double them, and one elsewhere. A writer that does
  both is refused: it is ambiguous.

Where an object begins and ends in a reply is `objects`' matter.
"""

import re
from dataclasses import dataclass
from typing import Final

_COMMANDS: Final = {
    "n": (
        "abla atural cong e earrow eg eq eqq eqslant ewcommand ewenvironment ewline ewton exists geq geqq"
        " geqslant gtr i icefrac left leftarrow Leftarrow leftrightarrow Leftrightarrow leq leqq leqslant less mid"
        " obreak olimits olinebreak ombre onumber orm ormalfont ormalsize ot otag otin otni parallel prec preceq"
        " rightarrow Rightarrow shortmid shortparallel sim subseteq subseteqq succ succeq supseteq supseteqq"
        " triangleleft trianglelefteq triangleright trianglerighteq u ull um vdash vDash Vdash VDash warrow"
    ),
    "r": (
        "aise aisebox angle brace brack ceil Downarrow ef enewcommand floor group gvert gVert ho hd ight"
        " ightarrow ightarrowtail ightharpoondown ightharpoonup ightleftarrows ightleftharpoons ightrightarrows"
        " ightsquigarrow ightthreetimes isingdotseq lap m moustache oman oot otatebox rbracket times ule vert Vert"
    ),
    "t": (
        "ag an anh au bf binom dfrac ensor ext extasciicircum extasciitilde extbackslash extbar extbf extbullet"
        " extcolor extdegree extdollar extellipsis extemdash extendash exteuro extgreater extit extless extmd"
        " extnormal extrm extsc extsf extsl extstyle extsubscript extsuperscript exttt extunderscore extup frac"
        " herefore heta hickapprox hicksim hinspace ilde imes iny o op r race ranspose riangle riangledown"
        " riangleleft rianglelefteq riangleq riangleright rianglerighteq woheadleftarrow woheadrightarrow"
    ),
}
"""Names of LaTeX's commands without their first letter, which JSON takes for the letter of an escape."""
_KNOWN: Final = {letter: frozenset(names.split()) for letter, names in _COMMANDS.items()}
_VARIABLES: Final = frozenset("e u".split())
"""Names behind `n` that are as likely a variable at the beginning of a line: `\\nu` is nu, or a line break and u."""
_WORDS: Final = frozenset("exists i left less mid parallel prec sim succ".split())
"""Names behind `n` of rare commands that are words as well: in a reply with line breaks, `\\nleft` is one and left."""
_LETTERS: Final = re.compile(r"[A-Za-z]+")
_HEX: Final = re.compile(r"[0-9A-Fa-f]{4}")
_RAW: Final = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
"""Characters that JSON wants escaped, and that models write as they are."""


class EscapeError(ValueError):
    """A backslash that may mean one thing or another."""


@dataclass
class _Evidence:
    """What a reply shows of its writer's habits."""

    single: bool = False
    """Some command has a single backslash."""
    doubled: bool = False
    """Some command has a doubled backslash."""
    breaks: bool = False
    """Some `\\n` can only be a line break."""


def string_end(text: str, start: int) -> int | None:
    """The place after the closing quote of the string that begins with the quote at `start`; None without one."""
    place = start + 1
    while place < len(text):
        if text[place] == "\\":
            place += 2
        elif text[place] == '"':
            return place + 1
        else:
            place += 1
    return None


def as_meant(text: str) -> str:
    """A JSON text whose strings say, escaped as JSON wants it, what their writer meant.

    Raises:
        EscapeError: one of its backslashes can be read in two ways.
    """
    strings = list(_strings(text))
    evidence = _Evidence()
    for start, end in strings:
        _look(text[start:end], evidence)
    parts, place = [], 0
    for start, end in strings:
        parts += [text[place:start], _rewritten(text[start:end], evidence)]
        place = end
    return "".join([*parts, text[place:]])


def _strings(text: str) -> list[tuple[int, int]]:
    """Where the strings of a JSON text begin and end, without their quotes."""
    found, place = [], text.find('"')
    while place >= 0:
        end = string_end(text, place)
        if end is None:
            break
        found.append((place + 1, end - 1))
        place = text.find('"', end)
    return found


def _escapes(body: str) -> list[tuple[int, str, str]]:
    """Every backslash of a string in order: its place, the character after it, and the letters after that."""
    found, place = [], body.find("\\")
    while 0 <= place < len(body) - 1:
        letters = _LETTERS.match(body, place + 2)
        found.append((place, body[place + 1], letters[0] if letters else ""))
        place = body.find("\\", place + 2)
    return found


def _look(body: str, evidence: _Evidence) -> None:
    for place, letter, after in _escapes(body):
        if letter == "\\":
            evidence.doubled |= bool(after) or body[place + 2 : place + 3] in _LATEX_SIGNS
        elif letter in "nrt":
            may_be = _may_be_a_command(body, place, letter, after)
            evidence.single |= after in _KNOWN[letter] and not may_be
            evidence.breaks |= letter == "n" and after not in _KNOWN["n"] and not may_be
        elif letter == "u":
            evidence.single |= not _HEX.match(body, place + 2)
        else:
            evidence.single |= letter not in "\"/'"


_LATEX_SIGNS: Final = tuple("()[]{},;!%$#&_|")
"""Signs that a backslash stands before in LaTeX: a doubled one there shows a writer that doubles."""


def _rewritten(body: str, evidence: _Evidence) -> str:
    parts, place = [], 0
    for start, letter, after in _escapes(body):
        parts += [body[place:start], _escape(body, start, letter, after, evidence)]
        place = start + 2
    plain = "".join([*parts, body[place:]])
    return re.sub(r"[\n\r\t]", lambda raw: _RAW[raw[0]], plain)


def _escape(body: str, start: int, letter: str, after: str, evidence: _Evidence) -> str:
    """How JSON writes what the escape of `letter` at `start` means."""
    literal = "\\\\" + letter
    if letter == "\\":
        return _backslashes(evidence)
    if letter in '"/':
        return "\\" + letter
    if letter == "'":  # Python's escape: JSON needs none
        return letter
    if letter == "u":
        return "\\u" if _HEX.match(body, start + 2) else literal
    if letter not in "nrt":
        return literal
    if _may_be_a_command(body, start, letter, after):
        return literal if _is_command(letter, after, evidence) else "\\" + letter
    if after in _KNOWN[letter] or (letter == "r" and after):  # a carriage return alone ends no line
        return literal
    return "\\" + letter


def _may_be_a_command(body: str, start: int, letter: str, after: str) -> bool:
    """Whether the letters of an escape may be a word or variable behind a line break or tab, and a command as well."""
    if letter == "n" and after in _VARIABLES | _WORDS:
        return True
    has_brace = body.startswith("{", start + 2 + len(after))
    return bool(after) and has_brace and after not in _KNOWN[letter]


def _is_command(letter: str, after: str, evidence: _Evidence) -> bool:
    """Whether an escape and the letters after it are a command, and not a line break or a tab and a word.

    Raises:
        EscapeError: nothing in the reply shows it.
    """
    if evidence.single != evidence.doubled:
        return evidence.single
    if not evidence.single and evidence.breaks and after not in _VARIABLES:
        return False
    raise EscapeError(_ADVICE.format(shown=f"\\{letter}{after}"))


def _backslashes(evidence: _Evidence) -> str:
    r"""How JSON writes what `\\` means: LaTeX's own line break, where its writer does not double backslashes."""
    if evidence.single and evidence.doubled:
        raise EscapeError(_ADVICE.format(shown="\\\\"))
    return "\\\\\\\\" if evidence.single else "\\\\"


_ADVICE: Final = "the backslash of {shown} can be read in two ways: in JSON, write each backslash of LaTeX twice"
