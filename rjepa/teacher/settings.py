"""Which teachers there are: endpoints, keys, limits and prices, from the environment, `.env` and YAML files.

A teacher is any OpenAI-compatible endpoint. Its key comes from the environment alone, stays a `SecretStr`, and is in no
dump, log or file. Which addresses may be called is decided in `rjepa.addresses`.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, DotEnvSettingsSource

from rjepa.addresses import check_url
from rjepa.configs import CONFIGS
from rjepa.errors import InvalidInputError, NotFoundError
from rjepa.home import Home, check_tag

PREFIX: Final = "TEACHER_"
BUDGET: Final = "TEACHER_MAX_BUDGET_PER_JOB"
DEFAULT_BUDGET_USD: Final = 5.0
"""Enough to try a paid endpoint out, too little to hurt."""


class Teacher(BaseModel):
    """One endpoint. Rates are per minute, prices in USD per million tokens; None: no limit, no price known."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    name: str
    base_url: str = Field(description="up to and with /v1")
    model: str = Field(min_length=1)
    api_key: SecretStr | None = Field(None, exclude=True, repr=False)
    reply: Literal["json_schema", "json_object", "json", "steps"] = Field(
        "json_schema",
        description="how the endpoint is held to a structure: a schema, JSON mode, by the prompt alone;"
        " `steps` for a student that writes `Step 1: ...` and nothing else",
    )
    rpm: float | None = Field(None, gt=0, description="requests a minute, retries included")
    tpm: float | None = Field(None, gt=0, description="tokens a minute, prompt and completion")
    usd_per_mtok_in: float | None = Field(None, ge=0)
    usd_per_mtok_out: float | None = Field(None, ge=0)
    max_tokens: int = Field(1024, ge=1, le=1_000_000, description="of one reply")
    token_limit_field: Literal["max_tokens", "max_completion_tokens"] = "max_tokens"
    temperature: float | None = Field(0.7, ge=0, le=2, description="`none`: the endpoint's own, and nothing is sent")
    concurrency: int = Field(8, ge=1, le=1000, description="calls in flight; rate x latency is needed to use a rate")
    timeout: float = Field(120, gt=0, description="seconds from sending to the last byte, of one attempt")
    max_retries: int = Field(4, ge=0, le=20, description="by the openai client, which honours Retry-After")
    licence: str = Field("unknown", min_length=1, description="of what this endpoint writes")

    @field_validator("temperature", mode="before")
    @classmethod
    def _none(cls, value: object) -> object:
        return None if isinstance(value, str) and value.strip().lower() == "none" else value

    @field_validator("base_url")
    @classmethod
    def _callable(cls, url: str) -> str:
        return check_url(url)

    @property
    def secret(self) -> str | None:
        """The key itself, for the one place that sends it."""
        return self.api_key.get_secret_value() or None if self.api_key is not None else None


@dataclass(frozen=True)
class Teachers:
    """Every teacher by name, the budget of a job, and variables that look like a teacher's and are none."""

    by_name: dict[str, Teacher]
    budget_usd: float = DEFAULT_BUDGET_USD
    not_understood: list[str] = field(default_factory=list)

    def choose(self, names: list[str]) -> list[Teacher]:
        """The teachers of these names, in order and once each.

        Raises:
            NotFoundError: one of them is not set up.
            InvalidInputError: no name is given.
        """
        known = ", ".join(sorted(self.by_name)) or "none"
        if not names:
            raise InvalidInputError("no teacher is named", cure=f"name one or more of: {known}")
        missing = [name for name in names if name not in self.by_name]
        if missing:
            raise NotFoundError(
                f"there is no teacher {missing[0]!r}; known: {known}",
                cure=f"set {PREFIX}{variable_part(missing[0])}_BASE_URL and {PREFIX}{variable_part(missing[0])}_MODEL"
                " (see docs/teachers.md)",
            )
        return [self.by_name[name] for name in dict.fromkeys(names)]


def load_teachers(
    home: Home | None = None, environ: Mapping[str, str] | None = None, env_file: str | None = ".env"
) -> Teachers:
    """Read `configs/teacher/endpoints/*.yaml`, the user's `registry/teachers/*.yaml`, `.env` and the environment now.

    A variable `TEACHER_<NAME>_<FIELD>` wins over the file of the same name; NAME is lower-cased, `_` becomes `-`.

    Raises:
        InvalidInputError: a value does not fit. The message names the field and never shows the value.
    """
    fields: dict[str, dict[str, Any]] = {}
    folders = [CONFIGS / "teacher" / "endpoints", *([home.registry / "teachers"] if home is not None else [])]
    for folder in folders:
        for path in sorted(folder.glob("*.yaml")):
            fields.setdefault(path.stem, {}).update(_file_fields(path))
    variables = {**_dot_env(env_file), **(os.environ if environ is None else environ)}
    budget, not_understood = variables.get(BUDGET), []
    for variable in sorted(variables):
        if not variable.startswith(PREFIX) or variable == BUDGET:
            continue
        name, setting = _split(variable)
        if setting is None:
            not_understood.append(variable)
        elif variables[variable] != "":
            fields.setdefault(name, {})[setting] = variables[variable]
    by_name = {name: _teacher(name, given) for name, given in fields.items()}
    return Teachers(by_name, _budget(budget) if budget else DEFAULT_BUDGET_USD, not_understood)


def _split(variable: str) -> tuple[str, str | None]:
    """Teacher and field of a variable; the field is None where none fits."""
    rest = variable.removeprefix(PREFIX)
    settings = [setting for setting in Teacher.model_fields if setting != "name"]
    for setting in sorted(settings, key=len, reverse=True):  # USD_PER_MTOK_IN before a field it might end with
        name = rest.removesuffix(f"_{setting.upper()}")
        if name and name != rest:
            return name.lower().replace("_", "-"), setting
    return rest, None


def _teacher(name: str, given: dict[str, Any]) -> Teacher:
    check_tag(name, "a teacher's name")
    try:
        return Teacher(name=name, **given)
    except ValidationError as error:
        wrong = "; ".join(f"{'.'.join(map(str, one['loc'])) or 'file'}: {one['msg']}" for one in error.errors())
        raise InvalidInputError(
            f"teacher {name!r} is not set up right: {wrong}",
            cure=f"mend {PREFIX}{variable_part(name)}_<FIELD> in the environment or .env, or its YAML file",
        ) from None  # pydantic's own error would carry the values, a key perhaps among them


def _file_fields(path: Path) -> dict[str, Any]:
    try:
        fields = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError):
        raise InvalidInputError(f"{path} is not valid YAML", cure="mend the file") from None
    if not isinstance(fields, dict):
        raise InvalidInputError(f"{path} holds no fields", cure="write base_url: and model: into it")
    if "api_key" in fields:
        raise InvalidInputError(
            f"{path} holds an API key; keys are never kept in files that are shared",
            cure=f"remove it, and set {PREFIX}{variable_part(path.stem)}_API_KEY in the environment or .env",
        )
    return fields


def _dot_env(env_file: str | None) -> dict[str, str]:
    if env_file is None or not Path(env_file).is_file():
        return {}
    source = DotEnvSettingsSource(BaseSettings, env_file=env_file, case_sensitive=True)
    return {name: value for name, value in source.env_vars.items() if value is not None}


def _budget(text: str) -> float:
    try:
        budget = float(text)
    except ValueError:
        budget = -1.0
    if not 0 <= budget < float("inf"):
        raise InvalidInputError(f"{BUDGET} is not an amount of USD", cure=f"set {BUDGET} to a number, e.g. 5")
    return budget


def variable_part(name: str) -> str:
    """A teacher's name as it stands in the names of its variables."""
    return name.upper().replace("-", "_").replace(".", "_")
