"""What a user says of a new student, made into a record; and taking a record out again. Weights are not touched."""

from pathlib import Path
from typing import Final, get_args

from pydantic import ValidationError

from rjepa.configs import load_config
from rjepa.errors import InvalidInputError, NotFoundError
from rjepa.home import Home, check_tag
from rjepa.students.catalog import SHIPPED, DType, Quantisation, Sampling, StudentRecord, load_record
from rjepa.students.environments import check_environment
from rjepa.students.prompts import PromptFormat
from rjepa.students.recipe import load_student_recipe
from rjepa.students.resolving import BUNDLED, RECIPE

_ASK_FOR_STEPS: Final = (
    "{statement}\n\nSolve this in short numbered steps, one on each line, and end with the answer alone, like this:\n"
    "Step 1: ...\nStep 2: ...\nAnswer: ...\n"
)
"""For students that were not trained on our form of a chain: what they write has to be read step by step."""

_FOREIGN_SAMPLING: Final = Sampling(max_new_tokens=512, batch_size=64)
_FOREIGN_DTYPE: Final[DType] = "bfloat16"


def new_record(llm_tag: str, model: str, quantisation: str = "none") -> StudentRecord:
    """The record of a student to be added.

    Args:
        model: `bundled` (the bundled student of the same name), `bundled:NAME`, `recipe:NAME` (trained when it is first
            needed), a local folder, or a hub id.

    Raises:
        InvalidInputError: a bad tag, an unknown quantisation, or a folder that holds no model.
        NotFoundError: no bundled student or recipe has this name.
    """
    check_tag(llm_tag)
    if quantisation not in get_args(Quantisation):
        known = ", ".join(get_args(Quantisation))
        raise InvalidInputError(f"{quantisation!r} is no quantisation", cure=f"choose one of {known}")
    if model == "bundled" or model.startswith("bundled:"):
        name = model.removeprefix("bundled").removeprefix(":") or llm_tag
        shipped = SHIPPED / f"{_bundled(name)}.yaml"
        plain = StudentRecord(llm_tag=name, model=f"bundled:{name}")
        record = load_config(shipped, StudentRecord) if shipped.exists() else plain
        return record.model_copy(update={"llm_tag": llm_tag, "quantisation": quantisation})
    if model.startswith(RECIPE):
        recipe = load_student_recipe(model.removeprefix(RECIPE))
        return StudentRecord(llm_tag=llm_tag, model=model, quantisation=quantisation, recipe=recipe.name)
    folder = Path(model).expanduser()
    if folder.is_dir() or model.startswith((".", "/", "~")):
        return _from_folder(llm_tag, folder.resolve(), quantisation)
    return StudentRecord(
        llm_tag=llm_tag,
        model=model,
        quantisation=quantisation,
        dtype=_FOREIGN_DTYPE,
        prompt=PromptFormat(template=_ASK_FOR_STEPS, use_chat_template=True),
        sampling=_FOREIGN_SAMPLING,
    )


def placed(
    record: StudentRecord, environment: str | None = None, endpoint: str | None = None, served_model: str | None = None
) -> StudentRecord:
    """The record of a student that runs in an environment of its own, or whose chains an endpoint writes.

    Raises:
        NotFoundError: the environment has no Python interpreter.
        InvalidInputError: the interpreter does not run, or lacks packages that it needs; the endpoint's address cannot
            be used. Whether the endpoint answers is not asked: it may be started later.
    """
    if environment is not None:
        environment = str(Path(environment).expanduser().absolute())
    where = {"environment": environment, "endpoint": endpoint, "served_model": served_model}
    try:
        changed = StudentRecord.model_validate(record.model_dump() | where)
    except ValidationError as error:
        reasons = "; ".join(one["msg"] for one in error.errors())
        raise InvalidInputError(
            f"{record.llm_tag} cannot be placed there: {reasons}",
            cure="name an endpoint such as http://127.0.0.1:9000/v1, without key, user or query in it",
        ) from None
    if environment is not None:
        check_environment(changed)
    return changed


def remove_record(home: Home, llm_tag: str) -> None:
    """Take a student that was added out of the registry. What was made for it stays.

    Raises:
        NotFoundError: no student has this tag.
        InvalidInputError: it came with the repository.
    """
    load_record(home, llm_tag)
    if (SHIPPED / f"{llm_tag}.yaml").exists():
        raise InvalidInputError(f"{llm_tag} comes with R-JEPA and stays", cure="remove only students that you added")
    (home.registry / "students" / f"{llm_tag}.yaml").unlink(missing_ok=True)


def _bundled(name: str) -> str:
    check_tag(name)
    if not (BUNDLED / name / "config.json").is_file():
        known = ", ".join(sorted(path.parent.name for path in BUNDLED.glob("*/config.json"))) or "none"
        raise NotFoundError(f"no bundled student is called {name!r}", cure=f"choose bundled:NAME with one of {known}")
    return name


def _from_folder(llm_tag: str, folder: Path, quantisation: Quantisation) -> StudentRecord:
    if not (folder / "config.json").is_file():
        raise InvalidInputError(
            f"{folder} holds no model: there is no config.json",
            cure="name a folder in Hugging Face layout, or a hub id",
        )
    if (folder / "recipe.json").is_file():
        return StudentRecord(llm_tag=llm_tag, model=str(folder), quantisation=quantisation)
    config = folder / "tokenizer_config.json"
    text = config.read_text(encoding="utf-8", errors="replace") if config.is_file() else ""
    has_chat_template = (folder / "chat_template.jinja").is_file() or '"chat_template"' in text
    return StudentRecord(
        llm_tag=llm_tag,
        model=str(folder),
        quantisation=quantisation,
        prompt=PromptFormat(template=_ASK_FOR_STEPS, use_chat_template=has_chat_template),
        sampling=_FOREIGN_SAMPLING,
    )
