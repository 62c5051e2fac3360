"""Who asks, and which role each route asks for, in one table. How a client shows its role lives in `serving.auth`.

The first rule that fits a method and a path holds. What no rule names asks for the operator's role: a new route is
guarded without anyone's doing, and a test asks for its line here.
"""

import re
from dataclasses import dataclass
from functools import cache
from typing import Final, Literal

from rjepa.keys import ROLES, Role

METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "POST", "DELETE"})
"""Others are refused before anything looks at them."""

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""These change nothing, so that a page of another origin may send them: it cannot read the reply."""


@dataclass(frozen=True)
class Principal:
    """Who asks. `client` is unique among them; limits of its own come before the service's."""

    client: str
    role: Role
    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None


@dataclass(frozen=True)
class Rule:
    """`path` may hold `{}` for one segment, and end with `**` for anything. Without a role, the route is open.

    `asks_model` marks the routes that cost the model's time: rates, tokens and places in the queue are counted there.
    """

    method: Literal["GET", "POST", "DELETE"]
    path: str
    role: Role | None
    asks_model: bool = False

    def fits(self, method: str, path: str) -> bool:
        """Whether the rule is about a request. HEAD is GET without a body."""
        return (
            self.method == ("GET" if method == "HEAD" else method) and _pattern(self.path).fullmatch(path) is not None
        )


ACCESS: Final = (
    # Open: that the process lives, and the pages' files, which say nothing of anyone.
    Rule("GET", "/v1/health", None),
    Rule("GET", "/v1/ready", None),
    Rule("GET", "/", None),
    Rule("GET", "/monitor", None),
    Rule("GET", "/static/**", None),
    # To look.
    Rule("GET", "/openapi.json", "viewer"),
    Rule("GET", "/metrics", "viewer"),
    Rule("GET", "/v1/info", "viewer"),
    Rule("GET", "/v1/models", "viewer"),
    Rule("GET", "/v1/models/{}", "viewer"),
    Rule("GET", "/v1/examples", "viewer"),
    Rule("GET", "/v1/monitor/review", "operator"),
    Rule("GET", "/v1/monitor/**", "viewer"),
    Rule("GET", "/v1/learning/**", "viewer"),
    # To ask.
    Rule("POST", "/v1/chat/completions", "user", asks_model=True),
    Rule("POST", "/v1/completions", "user", asks_model=True),
    Rule("POST", "/v1/responses", "user", asks_model=True),
    Rule("GET", "/v1/responses/**", "user"),
    Rule("DELETE", "/v1/responses/**", "user"),
    Rule("POST", "/v1/embeddings", "user", asks_model=True),
    Rule("POST", "/v1/generate", "user", asks_model=True),
    Rule("POST", "/v1/similarity", "user", asks_model=True),
    Rule("POST", "/v1/rjepa/**", "user", asks_model=True),
    Rule("POST", "/v1/feedback", "user"),
    Rule("GET", "/v1/feedback/{}", "user"),
    Rule("DELETE", "/v1/feedback/{}", "user"),
    Rule("GET", "/v1/me/**", "user"),
    Rule("GET", "/v1/me", "user"),
    Rule("POST", "/v1/me/opt-out", "user"),
    Rule("DELETE", "/v1/me/**", "user"),
    # To change what is served.
    Rule("POST", "/v1/monitor/**", "operator"),
    Rule("POST", "/v1/learning/**", "operator"),
    Rule("POST", "/mcp", "operator"),
    Rule("GET", "/v1/lora", "operator"),
    Rule("GET", "/v1/lora/section", "viewer"),
    Rule("POST", "/v1/lora/reload", "operator"),
    Rule("DELETE", "/v1/lora/{}", "operator"),
)

_UNNAMED: Final = Rule("GET", "**", "operator")


def rule_of(method: str, path: str) -> Rule:
    """The rule for a request: the first of `ACCESS` that fits, or the operator's."""
    exact = _exact_rules().get((method, path))
    return exact or _first_that_fits(method, path)


def _first_that_fits(method: str, path: str) -> Rule:
    return next((rule for rule in ACCESS if rule.fits(method, path)), _UNNAMED)


@cache
def _exact_rules() -> dict[tuple[str, str], Rule]:
    """What `_first_that_fits` finds for each path that a rule names in full: guards ask several times a request."""
    whole = [rule for rule in ACCESS if "{}" not in rule.path and "**" not in rule.path]
    return {(rule.method, rule.path): _first_that_fits(rule.method, rule.path) for rule in whole}


def nearest_route(path: str) -> str | None:
    """The route that an unknown path means: its /v1 is missing or there twice, or a slash ends it. None for others."""
    plain = path.rstrip("/")
    known = {rule.path for rule in _exact_rules().values()}
    return next((one for one in (plain, f"/v1{plain}", plain.replace("/v1/v1/", "/v1/", 1)) if one in known), None)


def may(role: Role, needed: Role) -> bool:
    """Whether a role suffices."""
    return ROLES.index(role) >= ROLES.index(needed)


@cache
def _pattern(path: str) -> re.Pattern[str]:
    # What `**` stands for has no segment `..`.
    quoted = re.escape(path).replace(r"\{\}", "[^/]+").replace(r"\*\*", r"(?!.*(?<![^/])\.\.(?![^/])).*")
    return re.compile(quoted, re.DOTALL)
