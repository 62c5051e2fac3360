"""Can a teacher be used? Its address, its key, its model and its prices, without a call that costs anything."""

import asyncio
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from rjepa.errors import InvalidInputError
from rjepa.teacher.client import Endpoint
from rjepa.teacher.errors import CallError
from rjepa.teacher.pricing import check_priced, is_local
from rjepa.teacher.settings import Teacher


@dataclass(frozen=True)
class TeacherCheck:
    """What was found out about a teacher.

    `status` is ok, no_price, no_model, or why it cannot be reached: connection, timeout, http_401, ...
    """

    teacher: Teacher
    status: str
    remarks: list[str] = field(default_factory=list)

    def row(self) -> dict[str, Any]:
        """For `--json`: everything but the key, of which only that there is one."""
        shown = self.teacher.model_dump(mode="json")
        return shown | {"key": self.teacher.secret is not None, "status": self.status, "remarks": self.remarks}


def check_teachers(teachers: list[Teacher]) -> list[TeacherCheck]:
    """Check all at once, in order."""

    async def check_all() -> list[TeacherCheck]:
        return await asyncio.gather(*(_check(teacher) for teacher in teachers))

    return asyncio.run(check_all())


async def _check(teacher: Teacher) -> TeacherCheck:
    remarks = []
    if urlsplit(teacher.base_url).scheme == "http" and teacher.secret and not is_local(teacher.base_url):
        remarks.append("the key travels unencrypted: use https")
    try:
        check_priced(teacher)
    except InvalidInputError as error:
        return TeacherCheck(teacher, "no_price", [*remarks, error.problem, error.cure])
    # Someone waits for this: one try, and not for as long as an answer may take.
    endpoint = Endpoint(teacher.model_copy(update={"max_retries": 0, "timeout": min(teacher.timeout, 10.0)}))
    try:
        models = await endpoint.models()
    except CallError as error:
        return TeacherCheck(teacher, error.reason, [*remarks, *([error.detail] if error.detail else [])])
    finally:
        await endpoint.aclose()
    if models is None:
        remarks.append("does not list its models, so the model is not checked")
    elif teacher.model not in models:
        return TeacherCheck(teacher, "no_model", [*remarks, f"serves {', '.join(models[:10]) or 'nothing'}"])
    return TeacherCheck(teacher, "ok", remarks)
