"""Is an endpoint busy, or is what may be spent there used up? And how long does it ask to wait?

A limit of a minute is waited for. One of an hour or longer, an empty balance and a used-up quota are not: the teacher
is left out until the job is run again. Providers put both under the same status, and mention plans, quotas and billing
in both, so the period that they name decides first.
"""

import json
import re
from typing import Final

LONGEST_WAIT_SECONDS: Final = 120.0
"""The openai client waits no longer for one attempt, whatever the server asks for."""

_LIMIT_STATUSES: Final = (403, 429)
"""Where the mention of a long period tells of a limit. An error of the request itself may quote its text."""
_CODE: Final = re.compile(
    r"insufficient_quota|insufficient[ _-](?:\w+[ _-])?(?:balance|funds|credits?)|billing_hard_limit|billing_not_active"
    r"|exceeded_current_quota|(?:quota|credits?|balance)_(?:exhausted|used_up)|arrearage|payment[ _]required"
    r"|out[ _-]of[ _-]credits?|spend(?:ing)?[ _-](?:limit|cap)|budget_?exceeded|exceeded_?budget|余额|欠费|额度|配额"
)
_LONG_PERIOD: Final = re.compile(
    r"(?:\b(?:an?|each|every|this|the)|per|/|by)[ _-]?(?:hour|day|week|month|year|24[ _-]?h)"
    r"|\b(?:hourly|daily|weekly|monthly|yearly|tomorrow|midnight|rpd|tpd|24[ -]?h(?:ours?)?)\b|\btoday\b(?! at http)"
)
_LIMIT: Final = re.compile(r"limit|quota|exceed|exhaust|reached|allow|used up|\bcap\b|too many|\bhit\b|rpd|tpd")
_SHORT_PERIOD: Final = re.compile(
    r"(?:\b(?:an?|each|every)|per|/|by)[ _-]?(?:min|minute|sec|second)(?:\b|[^a-z]|per)"
    r"|\b(?:rpm|tpm|rps|qps|tps)\b|concurren"
)
_THING: Final = r"(?:quota|credits?|balance|funds|usage limits?|billing limit|plan limits?)"
_USED_UP: Final = re.compile(
    rf"(?:exceed|exhaust|reach|used|out of|\bno\b|\bhit\b|insufficient|not enough|deplet)"
    rf"[^.;\"]{{0,50}}\b{_THING}\b"
    rf"|\b(?:{_THING}|billing)\b[^.;\"]{{0,50}}(?:exceed|exhaust|reach|used|too low|deplet|insufficient|not enough"
    r"|expired|r[au]n out|zero|not active|inactive|disabled)|budget has been exceeded|over budget"
    r"|\b(?:negative|low|zero|overdue) (?:account )?(?:balance|credits?)|check (?:your|the) (?:plan|billing)"
    r"|billing (?:details|account|issue|problem)|payment (?:is )?(?:overdue|failed|method)"
    r"|(?:add|buy|purchase) [^.;\"]{0,20}credits?|top[ -]up|recharge|account (?:is )?(?:suspended|in arrears)"
    r"|(?:disabled|blocked|suspended|inactive) [^.;\"]{0,20}billing"
    r"|can only afford"
)
_WAIT: Final = re.compile(
    r"(?:again|retry|wait|reset\w*|available)(?: (?:after|in|for))?:? ~?((?:\d+(?:\.\d+)? ?[a-z]+[ ,]*(?:and )?)+)"
)
_WAIT_FIELD: Final = re.compile(r'"retry_?(?:delay|after)(?:_seconds)?"\s*:\s*"?(\d+(?:\.\d+)?)s?"?')
_WAIT_PART: Final = re.compile(r"(\d+(?:\.\d+)?) ?(ms|milli|[dhms])[a-z]*")
_SECONDS: Final = {"ms": 0.001, "milli": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def is_used_up(status: int, body: str, wait: float | None = None) -> bool:
    """Whether an error says that what may be spent is spent. `wait` are the seconds that its headers ask to wait."""
    if status == 402:
        return True
    if status < 400:
        return False
    text = _unescaped(body).lower()
    if _CODE.search(text):
        return True
    if (status in _LIMIT_STATUSES or status >= 500) and _LONG_PERIOD.search(text) and _LIMIT.search(text):
        return True
    wait = seconds_to_wait(body) if wait is None else wait
    soon = wait is not None and wait <= LONGEST_WAIT_SECONDS
    return not soon and not _SHORT_PERIOD.search(text) and _USED_UP.search(text) is not None


def _unescaped(body: str) -> str:
    """A body whose JSON spells no letter as `\\u4f59`: words are searched for in it."""
    try:
        return json.dumps(json.loads(body), ensure_ascii=False) if "\\u" in body else body
    except (ValueError, RecursionError):
        return body


def seconds_to_wait(body: str) -> float | None:
    """How long an error's body asks to wait; None where it does not say."""
    text = body.lower()
    field = _WAIT_FIELD.search(text)
    if field is not None:
        return float(field[1])
    sentence = _WAIT.search(text)
    if sentence is None:
        return None
    return sum(float(number) * _SECONDS[unit] for number, unit in _WAIT_PART.findall(sentence[1])) or None
