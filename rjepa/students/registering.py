"""What a user says of a new student, made into a record; and taking a record out again. Weights are not touched."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, get_args

from pydantic import ValidationError

from rjepa.configs import load_config
from rjepa.errors import InvalidInputError, NotFoundError
from rjepa.files import read_json
from rjepa.home import Home, check_tag
from rjepa.students.catalog import SHIPPED, Quantisation, Sampling, StudentRecord, load_record
from rjepa.students.environments import check_environment
from rjepa.students.gguf_files import GGUF, read_gguf_header
from rjepa.students.known import find_known, get_known
from rjepa.students.prompts import PromptFormat
from rjepa.students.quantisation import stored_quantisation
from rjepa.students.recipe import load_student_recipe
from rjepa.students.resolving import BUNDLED, RECIPE, is_hub_name
from rjepa.students.templates import check_repeatable, read_template

_ASK_FOR_STEPS: Final = (
    "{statement}\n\nSolve this in short numbered steps, one on each line, and end with the answer alone, like this:\n"
    "Step 1: ...\nStep 2: ...\nAnswer: ...\n"
)
"""For students that were not trained on our form of a chain: what they write has to be read step by step."""

_FOREIGN_SAMPLING: Final = Sampling(max_new_tokens=512, batch_size=64)


def new_record(
    llm_tag: str, model: str, quantisation: str | None = None, *, changes: Mapping[str, Any] | None = None
) -> StudentRecord:
    """The record of a student to be added.

    Args:
        model: a name of the catalogue, `bundled` (the bundled student of the same name), `bundled:NAME`, `recipe:NAME`
            (trained when it is first needed), a local folder or .gguf file, or a hub id.
        quantisation: None for what the files say, as far as they are here, or what the catalogue says.
        changes: other fields of the record (`dtype`, `layer_idx`, `poolings`, `device`, `segmentation`, `revision`) and
            `thinking` of its prompt. None among them stands for the default.

    Raises:
        InvalidInputError: a bad tag, an unknown quantisation, a value that its field does not take, or a folder that
            holds no model, or whose chat template draws at random.
        CorruptError: a .gguf file whose header cannot be read.
        NotFoundError: no bundled student, recipe or model of the catalogue has this name.
    """
    check_tag(llm_tag)
    if quantisation is not None and quantisation not in get_args(Quantisation):
        known = ", ".join(get_args(Quantisation))
        raise InvalidInputError(f"{quantisation!r} is no quantisation", cure=f"choose one of {known}")
    record = _plain_record(llm_tag, model)
    values = record.model_dump() | {name: value for name, value in (changes or {}).items() if value is not None}
    if quantisation is not None:
        values["quantisation"] = quantisation
    if (thinking := values.pop("thinking", None)) is not None:
        values["prompt"] = {**values["prompt"], "thinking": thinking}
    try:
        return StudentRecord.model_validate(values)
    except ValidationError as error:
        fields = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise InvalidInputError(f"{llm_tag} cannot be registered so: {fields}", cure="mend these values") from error


def _plain_record(llm_tag: str, model: str) -> StudentRecord:
    """A model with all that it says of itself, and defaults for the rest."""
    if model == "bundled" or model.startswith("bundled:"):
        name = model.removeprefix("bundled").removeprefix(":") or llm_tag
        shipped = SHIPPED / f"{_bundled(name)}.yaml"
        plain = StudentRecord(llm_tag=name, model=f"bundled:{name}")
        record = load_config(shipped, StudentRecord) if shipped.exists() else plain
        return record.model_copy(update={"llm_tag": llm_tag})
    if model.startswith(RECIPE):
        recipe = load_student_recipe(model.removeprefix(RECIPE))
        return StudentRecord(llm_tag=llm_tag, model=model, recipe=recipe.name)
    local = Path(model).expanduser()
    if local.suffix == GGUF and local.is_file():
        return _from_gguf(llm_tag, local.resolve())
    if local.is_dir() or model.startswith((".", "/", "~")):
        return _from_folder(llm_tag, local.resolve())
    if is_hub_name(model):
        known = find_known(model)
        stored: Quantisation = "gguf" if model.endswith(GGUF) else known.quantisation if known else "none"
        return _foreign(llm_tag, model, chat=known is None or known.chat_template, quantisation=stored)
    known = get_known(model)
    return _foreign(llm_tag, known.hub_id, chat=known.chat_template, quantisation=known.quantisation)


def _foreign(llm_tag: str, model: str, *, chat: bool, quantisation: Quantisation) -> StudentRecord:
    """A student that was not trained on our form of a chain: it is asked for it. It has the default precision;
    the one for the machine it will run on is chosen in `rjepa.students.fitting`.
    """
    prompt = PromptFormat(template=_ASK_FOR_STEPS, use_chat_template=chat, thinking=False if chat else None)
    return StudentRecord(
        llm_tag=llm_tag,
        model=model,
        quantisation=quantisation,
        prompt=prompt,
        sampling=_FOREIGN_SAMPLING,
    )


def leaves_dtype_open(record: StudentRecord) -> bool:
    """Whether the precision of a new record is for this machine to choose: of a folder, and of students that were
    trained here, the files say it.
    """
    return record.quantisation == "gguf" or is_hub_name(record.model)


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


def _from_folder(llm_tag: str, folder: Path) -> StudentRecord:
    if not (folder / "config.json").is_file():
        raise InvalidInputError(
            f"{folder} holds no model: there is no config.json",
            cure="name a folder in Hugging Face layout, or a hub id",
        )
    if (folder / "recipe.json").is_file():
        return StudentRecord(llm_tag=llm_tag, model=str(folder))
    stored = stored_quantisation(read_json(folder / "config.json"), llm_tag)
    template = read_template(folder)
    if template is not None:
        check_repeatable(template)
    return _foreign(llm_tag, str(folder), chat=template is not None, quantisation=stored)


def _from_gguf(llm_tag: str, file: Path) -> StudentRecord:
    template = read_gguf_header(file).chat_template
    if template is not None:
        check_repeatable(template)
    return _foreign(llm_tag, str(file), chat=template is not None, quantisation="gguf")
