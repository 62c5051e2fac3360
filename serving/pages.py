"""The pages, as a server renders them: which language and theme, which words, which template.

What the monitor shows is gathered in `rjepa.monitoring` and served by `serving.monitor`; what happens in a page is in
`serving/static`. Pages hold nothing that a key guards: their modules fetch it.
"""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal, get_args

from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from rjepa.feedback.consent import CONSENT, CONSENT_VERSION

Language = Literal["en", "fr"]
LANGUAGES: Final[tuple[Language, ...]] = get_args(Language)

_HERE: Final = Path(__file__).resolve().parent
_LANGUAGE: Final = "rjepa_language"
_THEME: Final = "rjepa_theme"
_A_YEAR: Final = 365 * 24 * 3600
"""Seconds that a browser keeps the choice of a language."""

router = APIRouter()


@router.get("/", include_in_schema=False)
async def chat_page(request: Request) -> HTMLResponse:
    """The chat page."""
    return render_page(request, "chat", consent_words=CONSENT[language_of(request)], consent_version=CONSENT_VERSION)


def render_page(request: Request, name: str, **values: Any) -> HTMLResponse:
    """Render a page in the language that was asked for in its address, chosen before, or that the browser prefers."""
    language = language_of(request)
    text = (
        templates()
        .get_template(f"{name}.html")
        .render(page=name, language=language, theme=_theme_of(request), words=words(language), **values)
    )
    reply = HTMLResponse(text, headers={"cache-control": "no-cache", "content-language": language})
    reply.headers["vary"] = "accept-language, cookie"
    if request.query_params.get("lang") == language:
        reply.set_cookie(_LANGUAGE, language, max_age=_A_YEAR, samesite="strict", httponly=True)
    return reply


def language_of(request: Request) -> Language:
    """The language of a page: `?lang=fr`, else the reader's earlier choice, else the browser's first that we speak."""
    for chosen in (request.query_params.get("lang"), request.cookies.get(_LANGUAGE)):
        for language in LANGUAGES:
            if chosen == language:
                return language
    return _preferred(request.headers.get("accept-language", ""))


@lru_cache
def words(language: Language) -> dict[str, Any]:
    """Every word of the pages in one language, by page."""
    found: dict[str, Any] = json.loads((_HERE / "words" / f"{language}.json").read_text(encoding="utf-8"))
    return found


@lru_cache
def templates() -> Environment:
    """The templates. Everything that enters them is escaped, and an unknown name is an error."""
    return Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _theme_of(request: Request) -> str | None:
    """The reader's choice; None leaves it to the browser."""
    chosen = request.cookies.get(_THEME)
    return chosen if chosen in ("light", "dark") else None


def _preferred(header: str) -> Language:
    weighed: list[tuple[float, Language]] = []
    for part in header.split(","):
        tag, _, weight = part.strip().lower().partition(";q=")
        try:
            value = float(weight or 1.0)
        except ValueError:
            continue
        weighed += [(value, language) for language in LANGUAGES if tag.split("-")[0] == language]
    return max(weighed, key=lambda pair: pair[0], default=(0.0, LANGUAGES[0]))[1]
