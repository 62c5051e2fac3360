r"""How answers are dressed and spelt: Markdown, HTML, `\boxed`, `$`, colours, spaces and thousands of LaTeX, `\text`.

Nothing here says what an answer means: numbers are read in `rjepa.validation.answers`, formulas in
`rjepa.validation.formulas`. Every function takes a text and returns one that says the same.
"""

import html
import re
import unicodedata
from typing import Final

from rjepa.validation.repeating import with_overlines

_BOXES: Final = (
    "boxed fbox text textbf textit textrm textnormal mathrm mathbf mathit mbox bf ensuremath framebox bold bm "
    "boldsymbol emph underline texttt textsf mathsf"
).split()
_WRAPPERS = (
    re.compile(r"^\$\$(?P<inner>[^$]*)\$\$$", re.DOTALL),
    re.compile(r"^\$(?P<inner>[^$]*[^$\\])\$$", re.DOTALL),
    re.compile(r"^\\\((?P<inner>(?:(?!\\\)).)*)\\\)$", re.DOTALL),
    re.compile(r"^\\\[(?P<inner>(?:(?!\\\]).)*)\\\]$", re.DOTALL),
    re.compile(r"^(?P<mark>\*{1,3}|_{1,3}|`)(?P<inner>[^*_`]+)(?P=mark)$", re.DOTALL),
    re.compile(r"^(?P<fence>```|~~~)(?:[a-z]*\s*\n)?(?P<inner>[^`~]+)(?P=fence)$", re.DOTALL),
    re.compile(r"^(?:\"(?P<inner>[^\"]+)\")$"),
    re.compile(r"^['‘](?P<inner>[^'’]+)['’]$"),
    re.compile(r"^[“«](?P<inner>[^“”«»]+)[”»]$"),
    re.compile(
        r"^<(?P<tag>b|strong|i|em|u|p|span|code|mark|center)\b[^<>]*>(?P<inner>[^<>]+)</(?P=tag)>$", re.IGNORECASE
    ),
    re.compile(r"^\\boxed\s+(?P<inner>[^{}\s].*)$", re.DOTALL),
    re.compile(r"^\\left\s*\((?P<inner>[^(),;]*)\\right\s*\)$"),
    re.compile(r"^#{2,6}\s*(?P<inner>[^#]+)$", re.DOTALL),
    re.compile(r"^<answer>(?P<inner>.*)</answer>$", re.DOTALL | re.IGNORECASE),
)
_BOX = re.compile(rf"^\\(?:{'|'.join(_BOXES)})\s*\{{")
_LAYERS: Final = 6
"""`$\\boxed{\\text{(B)}}$` within Markdown has five."""

_MATHS_IN_PROSE = re.compile(
    r"\$\$(?P<display>[^$]+)\$\$|(?<!\\)\$(?P<inline>[^$\n]*[^$\\\n])\$|\\\((?P<round>(?:(?!\\\))[^\n])+)\\\)|\\\[(?P<square>(?:(?!\\\]).)+)\\\]",
    re.DOTALL,
)
_FRAME: Final = frozenset(
    (
        "so thus therefore hence then and the a final correct right best answer answers result value solution "
        "solutions is are be must equals equal to of we find that have get obtain our it its this in conclusion "
        "total which gives finally now"
    ).split()
)
"""Words that only frame an answer: `We find that $x < 3$.` Any other (`not`, `twice`) may change what it says."""
_LEAD = re.compile(
    r"^(?:(?:so|thus|therefore|hence)\b,?\s*)?(?:"
    r"[*_#\s]*(?:the\s+|my\s+|our\s+)?(?:(?:final|correct|right)\s+)?(?:answers?|results?|ans)"
    r"[*_]*\s*(?:(?:is|are|would be)\b|[:=：])[\s*_]*:?[*_]*\s*"
    r"|(?:the\s+|its\s+)?(?:real\s+)?(?:solutions?|roots?|values?|zeros)(?:\s+(?:of|for)\s+\$?[a-z]\$?)?\s+(?:is|are)\b:?\s*"
    r"|(?:i|we)\s+(?:get|got|find|found|obtain|have)\s+|[:：]\s*|both\s+(?=\S+\s+and\s))(?=\S)",
    re.IGNORECASE,
)
_TRAIL = re.compile(r"\s+is\s+(?:the|my|our)\s+(?:(?:final|correct)\s+)?answer[.!]?$", re.IGNORECASE)
_POINTERS: Final = "✅✓✔☑👉→➡⇒⟹•▪●►∴🎯📌💡🔹\ufe0f"
"""Signs that point at an answer or approve of it; those that strike it out (❌ ✗ ➖) are none."""
_POINTER = re.compile(
    rf"^(?:[{_POINTERS}\s]|\\(?:therefore|implies|Rightarrow|Longrightarrow|rightarrow|longrightarrow)(?![a-zA-Z]))+|[✅✓✔☑🎉\ufe0f\s]+$"
)
_ENTITY = re.compile(r"&(?:[a-zA-Z]{2,8}|#\d{2,5});")
_COLOUR = re.compile(r"\\(?:text)?color\s*\{[a-zA-Z0-9!]*\}|\\colorbox\s*\{[a-zA-Z0-9!]*\}")
_MAX_DRESSED: Final = 2000
"""Characters; what is longer is no final answer and stays as it is."""

_CALCULATION = re.compile(r"<<[^<>]*>>")
_SETTING = (
    (
        re.compile(
            r"\\(?:displaystyle|textstyle|scriptstyle|limits|nolimits|strut|mathstrut|[lL]arge|LARGE|[hH]uge|bfseries)(?![a-zA-Z])"
        ),
        " ",
    ),
    (re.compile(r"\\m?left\s*\.|\\m?right\s*\."), " "),
    (re.compile(r"\\(?:left|right|mleft|mright|[bB]igg?[lrm]?)(?![a-zA-Z])\s*"), ""),
    (re.compile(r"\\!\s*"), ""),
    (re.compile(r"(?<!\\)\\[,;:> ]|~|\\q?quad(?![a-zA-Z])|\\(?:thin|med|thick|en|nobreak)space(?![a-zA-Z])"), " "),
    (re.compile(r"(?<=[1-9])\s*\{\s*,\s*\}\s*(?=\d{3}(?!\d))|(?<=\d\d)\s*\{\s*,\s*\}\s*(?=\d{3}(?!\d))"), ""),
    (re.compile(r"(?<=\d)\s*\{\s*,\s*\}\s*(?=\d)"), "."),
    (re.compile(r"\\(?:dfrac|tfrac|cfrac|nicefrac|sfrac)(?![a-zA-Z])"), r"\\frac"),
    (re.compile(r"\\vert(?![a-zA-Z])\s*"), "|"),
    (re.compile(r"\\lbrace(?![a-zA-Z])"), r"\\{"),
    (re.compile(r"\\rbrace(?![a-zA-Z])"), r"\\}"),
    (re.compile(r"\\lbrack(?![a-zA-Z])"), "["),
    (re.compile(r"\\rbrack(?![a-zA-Z])"), "]"),
    (re.compile(r"\{([^{}]*)\\over(?![a-zA-Z])([^{}]*)\}"), r"\\frac{\1}{\2}"),
    (re.compile(r"^([^{}]*)\\over(?![a-zA-Z])([^{}]*)$"), r"\\frac{\1}{\2}"),
    (re.compile(r"\{([^{}]*)\\choose(?![a-zA-Z])([^{}]*)\}"), r"\\binom{\1}{\2}"),
    (re.compile(r"(?:\\\\\s*)+$"), ""),
)
_PLAINER = (
    (re.compile(r"\\([$%&#])"), r"\1"),
    (re.compile(r"\s*\^\s*\{?\s*\\circ(?![a-zA-Z])\s*\}?|\\(?:degree|textdegree)(?![a-zA-Z])"), "°"),
    (
        re.compile(
            r"\\frac\s*\{\s*(\\(?:text|mathrm)\s*\{[^{}]*\}(?:\s*\^\s*\d)?)\s*\}\s*\{\s*(\\(?:text|mathrm)\s*\{[^{}]*\}(?:\s*\^\s*\d)?)\s*\}"
        ),
        r" \1/\2",
    ),
    (re.compile(r"(\d)?\s*\\frac\s*\{\s*(\d+)\s*\}\s*\{\s*(\d+)\s*\}"), r"\1 \2/\3"),
    (re.compile(r"(\d)?\s*\\frac\s*(\d)\s*(\d)(?!\d)"), r"\1 \2/\3"),
    (re.compile(r"\\(?:text|textbf|textit|textrm|textnormal|mathrm|mbox|mathbf|operatorname)\s*\{([^{}]*)\}"), r" \1"),
    (re.compile(r"(?<=[a-zA-Z²³])\s*\^\s*\{\s*(-?\d)\s*\}"), r"^\1"),
    (re.compile(r"^([+-]?\s*)10\s*(?:\^|\*\*)\s*\{?\s*([+-]?\s*\d{1,4})\s*\}?(?=$|\s*[^\W\d]|%)"), r"\g<1>1e\2"),
    (
        re.compile(
            r"(?<![\w./^},)])((?:\d{1,3}(?:,\d{3})+|\d+,(?:\d{1,2}|\d{4,})(?=\s*[^\d\s,])|\d+)?(?:\.\d+)?)\s*(?:\\times|\\cdot|[×·⋅*xX])\s*"
            r"10\s*(?:\^|\*\*)\s*[{(]?\s*([+-]?)\s*(\d{1,4})(?!\d)\s*[})]?"
        ),
        lambda match: f"{match[1]}e{match[2]}{match[3]}" if match[1] else match[0],
    ),
    (re.compile(r"(?<=\de)\s*([+-])\s+(?=\d)"), r"\1"),
    (re.compile(r"(?<=\d)\s*([kM]?)\\Omega(?![a-zA-Z])"), r" \1Ω"),
    (re.compile(r"(?<=\d)\s*\\mu\s*(?=[mgsLAVF](?![a-zA-Z]))"), " µ"),
)
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺", "0123456789-+")
_POWER_OF_TEN = re.compile(r"(10)([⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺]+)")
_CUT_OFF = re.compile(
    r"\\(?:[dtc]?frac|sqrt|[dt]?binom)\s*(?:\{[^{}]*\}\s*)?(?<!\})\s*\$*$|\\[dtc]?frac\s*\{[^{}]*\}\s*\$*$|(?<!\\)\\$"
)
_DRESS_ALONE = re.compile(
    r"(?:\s|\$\s*\$|\\(?:boxed|fbox|text\w*|mathrm|mathbf|mbox)\s*\{\s*\}|\\\(\s*\\\)|\\\[\s*\\\]|\{\s*\}\s*(?=\$|\\))+"
)
_STRUCK_OUT = re.compile(r"(?<!~)~~[^~\n]+~~(?!~)|\\(?:cancel|bcancel|xcancel|sout|st)\s*\{|<(?:s|del|strike)>")
_BEGIN, _END = re.compile(r"\\begin\s*\{(\w+\*?)\}"), re.compile(r"\\end\s*\{(\w+\*?)\}")


def undressed(answer: str) -> str:
    r"""An answer without its setting: `$\boxed{\left(1,\,2\right)}$` is `(1, 2)`, `**7**` is `7`. Formulas stay."""
    if len(answer) > _MAX_DRESSED:
        return answer.strip()
    text = _CALCULATION.sub("", answer).strip()
    text = _COLOUR.sub("", _ENTITY.sub(lambda entity: html.unescape(entity[0]), text))
    for _ in range(_LAYERS):
        before = text
        text = without_full_stop(_TRAIL.sub("", _POINTER.sub("", text) or text))
        for wrapper in _WRAPPERS:
            match = wrapper.match(text)
            if match is not None and match["inner"].strip():
                text = match["inner"].strip()
        text = _out_of_prose(_out_of_its_box(_LEAD.sub("", text)))
        if text == before:
            break
    for pattern, replacement in _SETTING:
        text = pattern.sub(replacement, text)
    return with_overlines(text.strip())


def without_full_stop(text: str) -> str:
    r"""A text without the stop of a sentence: the dots of `0.333...` and of `\right.` stay."""
    if text.endswith(("..", "…", "\\left.", "\\right.")):
        return text
    return text.rstrip(". ").strip() or text


def plain(answer: str) -> str:
    r"""`undressed`, with numbers and words as plain text: `\frac{3}{4}` is `3/4`, `5\text{ cm}^2` is `5 cm^2`."""
    text = undressed(answer)
    if len(text) > _MAX_DRESSED:
        return text
    text = _POWER_OF_TEN.sub(lambda match: f"{match[1]}^{match[2].translate(_SUPERSCRIPTS)}", text)
    text = text.replace("−", "-").replace("\u2013", "-").replace("\u2012", "-")
    for pattern, replacement in _PLAINER:
        text = pattern.sub(replacement, text)
    return text.strip()


def is_malformed(answer: str) -> bool:
    r"""Whether a text is no answer: it is struck out (`~~5~~`), it is dress around nothing (`\boxed{}`), or its LaTeX
    breaks off (a brace, environment or `\left` that does not close, half a fraction).
    """
    if _STRUCK_OUT.search(answer) or _DRESS_ALONE.fullmatch(answer):
        return True
    if not any(mark in answer for mark in "\\{}"):
        return False
    depth = 0
    for brace in re.sub(r"\\\\|\\[{}]", "", answer):
        depth += (brace == "{") - (brace == "}")
        if depth < 0:
            return True
    if depth or sorted(_BEGIN.findall(answer)) != sorted(_END.findall(answer)) or _CUT_OFF.search(answer):
        return True
    return len(re.findall(r"\\left(?![a-zA-Z])", answer)) != len(re.findall(r"\\right(?![a-zA-Z])", answer))


def ascii_digits(text: str) -> str:
    """The text with every decimal digit of Unicode as 0 to 9."""
    return "".join(str(unicodedata.decimal(one)) if not one.isascii() and one.isdecimal() else one for one in text)


def matching(text: str, start: int) -> int:
    """Index of the brace that closes the one at `start`, -1 where none does."""
    depth, index = 0, start
    while index < len(text):
        if text[index] == "\\":
            index += 2
            continue
        depth += (text[index] == "{") - (text[index] == "}")
        if depth == 0:
            return index
        index += 1
    return -1


def _out_of_prose(text: str) -> str:
    """The one formula in a sentence that only frames it; the text itself where there are more, or other words."""
    found = list(_MATHS_IN_PROSE.finditer(text))
    if len(found) == 1 and (found[0].start(), found[0].end()) != (0, len(text)):
        inner, outside = next(filter(None, found[0].groups())), text[: found[0].start()] + " " + text[found[0].end() :]
    else:
        boxes = list(re.finditer(r"\\(?:boxed|fbox)\s*\{", text))
        end = matching(text, boxes[0].end() - 1) if len(boxes) == 1 else -1
        if end < 0:
            return text
        inner, outside = (
            text[boxes[0].end() : end],
            (text[: boxes[0].start()] + " " + text[end + 1 :]).replace("$", " "),
        )
        if re.fullmatch(r"\s*(?:\\?%|percent|pct)\s*", outside):
            return inner + outside.strip()
    words = re.sub(r"[\s.,:;!*_]+", " ", outside).lower().split()
    return inner.strip() or text if all(word in _FRAME for word in words) else text


def _out_of_its_box(text: str) -> str:
    match = _BOX.match(text)
    if match is None or matching(text, match.end() - 1) != len(text) - 1:
        return text
    return text[match.end() : -1].strip() or text
