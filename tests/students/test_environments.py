"""A student's own Python environment: found, looked at, and refused with the words that mend it."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from rjepa.errors import InvalidInputError, NotFoundError
from rjepa.home import Home
from rjepa.latents.launching import run_where_it_lives
from rjepa.latents.rollouts import open_rollouts
from rjepa.latents.worker import MODULE, StudentTask
from rjepa.schemas import Problem
from rjepa.students.catalog import StudentRecord, load_record, save_record
from rjepa.students.environments import check_environment, find_interpreter, module_command, module_variables
from rjepa.students.loading import Student
from rjepa.students.registering import placed
from rjepa.students.resolving import resolve_student
from rjepa.tables import read_records, write_records
from tests.latents.conftest import DATASET, write_sums
from tests.students.environments import empty_environment, lean_environment
from tests.students.tiny import record

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def lean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lean_environment(tmp_path_factory.mktemp("lean") / "venv")


def test_a_venv_folder_and_its_interpreter_name_the_same_environment(tmp_path: Path) -> None:
    folder = lean_environment(tmp_path / "own")
    assert find_interpreter(str(folder)) == find_interpreter(str(folder / "bin" / "python"))


def test_an_environment_with_everything_is_accepted(tmp_path: Path, qwen_folder: Path) -> None:
    folder = lean_environment(tmp_path / "own")
    found = placed(record(qwen_folder), environment=str(folder))
    assert found.environment == str(folder) and check_environment(found) == folder / "bin" / "python"


def test_no_interpreter_is_told_with_how_to_make_one(tmp_path: Path, qwen_folder: Path) -> None:
    with pytest.raises(NotFoundError, match=r"no Python interpreter at .*/nowhere\n.*python3 -m venv"):
        placed(record(qwen_folder), environment=str(tmp_path / "nowhere"))


def test_something_else_than_python_is_no_environment(tmp_path: Path, qwen_folder: Path) -> None:
    with pytest.raises(InvalidInputError, match="does not run as a Python interpreter"):
        placed(record(qwen_folder), environment="/bin/false")


def test_missing_packages_are_all_named_with_the_command_that_installs_them(tmp_path: Path, qwen_folder: Path) -> None:
    folder = empty_environment(tmp_path / "empty")
    with pytest.raises(InvalidInputError) as refused:
        placed(record(qwen_folder), environment=str(folder))
    for name in ("torch", "transformers", "safetensors", "pyarrow", "numpy", "pydantic", "dagster-pipes"):
        assert name in refused.value.problem
    assert f"{folder}/bin/python -m pip install -r {ROOT}/configs/environments/student.txt" in refused.value.cure


def test_quantised_and_served_students_need_more(tmp_path: Path, qwen_folder: Path) -> None:
    folder = empty_environment(tmp_path / "empty")
    with pytest.raises(InvalidInputError, match=r"gptqmodel>=7.7(.|\n)*-r .*awq.txt"):
        placed(record(qwen_folder, quantisation="awq"), environment=str(folder))
    with pytest.raises(InvalidInputError, match=r"openai(.|\n)*-r .*endpoint.txt"):
        placed(record(qwen_folder), environment=str(folder), endpoint="http://127.0.0.1:9/v1")


def test_too_old_a_package_is_named_with_its_version(tmp_path: Path, qwen_folder: Path) -> None:
    folder = empty_environment(tmp_path / "old")
    site = next(folder.glob("lib/python*/site-packages"))
    (site / "transformers-4.40.0.dist-info").mkdir()
    (site / "transformers-4.40.0.dist-info" / "METADATA").write_text("Name: transformers\nVersion: 4.40.0\n")
    with pytest.raises(InvalidInputError, match=r"transformers>=5\.\d+ \(it has 4\.40\.0\)"):
        placed(record(qwen_folder), environment=str(folder))


@pytest.mark.parametrize("url", ["ftp://host/v1", "http://169.254.169.254/v1", "http://user:secret@host/v1", "9000"])
def test_an_endpoint_that_may_not_be_called_is_refused(url: str, qwen_folder: Path) -> None:
    with pytest.raises(InvalidInputError) as refused:
        placed(record(qwen_folder), endpoint=url)
    assert "secret" not in str(refused.value)


def test_a_served_name_needs_an_endpoint(qwen_folder: Path) -> None:
    with pytest.raises(InvalidInputError, match="served_model"):
        placed(record(qwen_folder), served_model="qwen")


def test_where_a_student_runs_is_not_what_it_is(tmp_path: Path, qwen_folder: Path) -> None:
    home, plain = Home(tmp_path / "home"), record(qwen_folder)
    moved = placed(plain, endpoint="http://127.0.0.1:9/v1").model_copy(update={"environment": "/opt/mine"})
    assert resolve_student(home, moved).fingerprint == resolve_student(home, plain).fingerprint


def test_an_environment_and_a_server_may_move_but_who_writes_the_chains_may_not_change(
    tmp_path: Path, qwen_folder: Path
) -> None:
    home = Home(tmp_path)
    served = placed(record(qwen_folder), endpoint="http://127.0.0.1:9/v1", served_model="qwen")
    save_record(home, served)
    moved = served.model_copy(update={"endpoint": "http://other:9/v1", "environment": "/opt/new"})
    save_record(home, moved)
    assert load_record(home, "tiny-test") == moved
    with pytest.raises(InvalidInputError, match="another endpoint, served_model"):
        save_record(home, moved.model_copy(update={"endpoint": None, "served_model": None}))
    with pytest.raises(InvalidInputError, match="another served_model"):
        save_record(home, moved.model_copy(update={"served_model": "other"}))


def test_a_record_written_before_there_were_environments_is_read(tmp_path: Path) -> None:
    folder = Home(tmp_path).registry / "students"
    folder.mkdir(parents=True)
    (folder / "old.yaml").write_text("llm_tag: old\nmodel: /models/old\n")
    assert load_record(Home(tmp_path), "old") == StudentRecord(llm_tag="old", model="/models/old")


def test_the_worker_needs_its_requirements_alone_and_judges_with_the_platforms_libraries(
    lean: Path, tmp_path: Path, taught: Student
) -> None:
    home, reports = Home(tmp_path), []
    write_sums(home)
    path = home.dataset(DATASET) / "problems.parquet"
    halves = [p.model_copy(update={"answer_gold": r"\frac{1}{2}"}) for p in read_records(path, Problem)]
    write_records(path, Problem, halves)  # formulas: comparing them takes sympy, which is not in the environment
    save_record(home, record(taught.path, environment=str(lean)))
    task = StudentTask("rollouts", "tiny-test", DATASET, num_candidates=2)
    report = run_where_it_lives(home, task, lambda done, total, note="": reports.append((done, total)))
    assert len(report.data_version) == 64 and report.metadata["problems"] == 24 and reports[-1] == (24, 24)
    reasons = {c.reason for row in open_rollouts(home, "tiny-test", DATASET).candidates for c in row}
    assert "wrong_answer" in reasons and not reasons & {"answer_died", "answer_timeout"}


def test_the_worker_says_in_a_line_what_went_wrong_and_how_to_mend_it(lean: Path, tmp_path: Path) -> None:
    task = StudentTask("latents", "nobody", DATASET)
    command = module_command(find_interpreter(str(lean)), MODULE, task.arguments())
    variables = {**os.environ, **module_variables(Home(tmp_path))}
    done = subprocess.run(command, capture_output=True, text=True, env=variables)
    output = json.loads(done.stdout.splitlines()[-1])
    assert done.returncode == 1 and "no student is called 'nobody'" in output["problem"] and output["cure"]
