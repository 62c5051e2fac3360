"""Which students exist and what each is: one typed record a tag, shipped in configs/ or added by the user.

Values and their YAML files only; nothing here touches weights (see `rjepa.students.loading`).
"""

from pathlib import Path
from typing import Annotated, Literal, get_args

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator

from rjepa.addresses import check_url
from rjepa.chains import Segmentation
from rjepa.configs import CONFIGS, config_names, load_config
from rjepa.errors import InvalidInputError, NotFoundError
from rjepa.files import write_text
from rjepa.home import Home, check_tag
from rjepa.students.prompts import PromptFormat

Pooling = Literal["mean", "last", "end", "number"]
DType = Literal["float32", "bfloat16", "float16"]
Quantisation = Literal["none", "awq", "gptq", "bnb8", "bnb4", "gguf"]
"""awq, gptq and gguf are how weights are stored; bnb8 and bnb4 are made by bitsandbytes while loading."""

SHIPPED = CONFIGS / "students"


def _distinct(poolings: tuple[Pooling, ...]) -> tuple[Pooling, ...]:
    if not poolings or len(set(poolings)) != len(poolings):
        raise ValueError(f"poolings must name at least one of {', '.join(get_args(Pooling))}, each once")
    return poolings


Poolings = Annotated[tuple[Pooling, ...], AfterValidator(_distinct)]


class Sampling(BaseModel):
    """How chains are sampled when nothing else is asked for."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    temperature: float = Field(0.8, gt=0, le=10)
    max_new_tokens: int = Field(256, ge=1, le=32768, description="a chain that is longer is cut and marked unfinished")
    batch_size: int = Field(512, ge=1, description="chains that are decoded together")


class LoraOf(BaseModel):
    """Which LoRA a student has, and on top of which other student's weights: `loras/BASE/NAME` of the home."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: str
    name: str


class StudentRecord(BaseModel):
    """One LLM under study. Everything that shapes its latents enters its fingerprint; where it runs does not."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    llm_tag: str
    model: str = Field(min_length=1, description="bundled:NAME, recipe:NAME, a local folder or .gguf file, or a hub id")
    revision: str | None = Field(None, description="commit or branch of a hub model")
    quantisation: Quantisation = "none"
    dtype: DType = "float32"
    dtype_reason: str | None = Field(None, description="why this dtype; None where it was asked for or is the default")
    layer_idx: int = Field(-2, description="index into Hugging Face's hidden_states; -2 is before the last layer")
    poolings: Poolings = ("mean", "last", "end")
    prompt: PromptFormat = PromptFormat()
    segmentation: Segmentation = Field("guided", description="what begins a step; see rjepa.chains")
    device: str = Field(
        "auto", pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$", description="where it runs; not a part of what it is"
    )
    sampling: Sampling = Sampling()
    recipe: str | None = Field(None, description="recipe in configs/students/recipes/ that trains these weights")
    lora: LoraOf | None = Field(None, description="LoRA that is put onto the weights of another student")
    environment: str | None = Field(None, description="Python interpreter or venv folder that it runs in")
    endpoint: str | None = Field(None, description="OpenAI-compatible server that writes its chains, with /v1")
    served_model: str | None = Field(None, description="the endpoint's name for it; None: the only one it serves")

    @property
    def weights_tag(self) -> str:
        """The student whose weights these are: of one with a LoRA its base."""
        return self.llm_tag if self.lora is None else self.lora.base

    @field_validator("endpoint")
    @classmethod
    def _callable(cls, url: str | None) -> str | None:
        return None if url is None else check_url(url)

    @model_validator(mode="after")
    def _is_served(self) -> "StudentRecord":
        if self.served_model is not None and self.endpoint is None:
            raise ValueError("served_model is a name at an endpoint, and there is none")
        return self


def load_record(home: Home, llm_tag: str) -> StudentRecord:
    """The record of a tag.

    Raises:
        NotFoundError: no student has this tag.
        InvalidInputError: the tag, or its file, is malformed.
    """
    check_tag(llm_tag)
    for folder in _folders(home):
        path = folder / f"{llm_tag}.yaml"
        if path.exists():
            record = load_config(path, StudentRecord)
            if record.llm_tag != llm_tag:
                raise InvalidInputError(
                    f"{path} holds the student {record.llm_tag!r}, expected {llm_tag!r}",
                    cure="rename the file or mend its llm_tag",
                )
            return record
    known = ", ".join(_tags(home)) or "none"
    raise NotFoundError(
        f"no student is called {llm_tag!r} (known: {known})",
        cure=f"choose one of them, or add it: rjepa llm add {llm_tag} --model FOLDER_OR_HUB_ID",
    )


def find_record(home: Home, llm_tag: str) -> StudentRecord | None:
    """The record of a tag; None where no student has it (errors as `load_record` otherwise)."""
    try:
        return load_record(home, llm_tag)
    except NotFoundError:
        return None


def save_record(home: Home, record: StudentRecord) -> None:
    """Register a student in `$RJEPA_HOME`. Saving the same record again changes nothing; where a student runs
    (`environment`, the address of its `endpoint`) may change, as servers and environments move, and so may the words
    that say why it has its dtype.

    Raises:
        InvalidInputError: the tag is malformed, or a different student already has it.
    """
    check_tag(record.llm_tag)
    path = home.registry / "students" / f"{record.llm_tag}.yaml"
    existing = find_record(home, record.llm_tag) or record
    changed = [name for name in StudentRecord.model_fields if getattr(existing, name) != getattr(record, name)]
    may_change = {"environment", "dtype_reason"}
    if (existing.endpoint is None) == (record.endpoint is None):
        may_change.add("endpoint")
    if {*changed} <= may_change and not (SHIPPED / path.name).exists():
        text = yaml.safe_dump(record.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
        write_text(path, text)
    elif changed:
        raise InvalidInputError(
            f"the student {record.llm_tag!r} already exists with another {', '.join(changed)}",
            cure="choose another tag: what was made by a student stays bound to what it was",
        )


def list_records(home: Home) -> list[StudentRecord]:
    """Every known student, sorted by tag."""
    return [load_record(home, tag) for tag in _tags(home)]


def _folders(home: Home) -> tuple[Path, Path]:
    return SHIPPED, home.registry / "students"


def _tags(home: Home) -> list[str]:
    return sorted({name for folder in _folders(home) for name in config_names(folder)})
