import json
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from rjepa.cli.teacher import register
from rjepa.errors import InvalidInputError, NotFoundError
from rjepa.teacher.ledger import BudgetError

from .conftest import KEY
from .scripted import Answer, Request, chain, completion

APP = typer.Typer()
register(APP)
APP.callback()(lambda: None)


def script(asked: Request) -> Answer:
    if asked.path.endswith("/models"):
        return Answer('{"object": "list", "data": [{"id": "large", "object": "model"}]}')
    if "Write one" in asked.prompt:
        claim = {"statement": f"What is {asked.sample} + 4, pray?", "answer": "4"}
        return Answer(completion(json.dumps(claim)))
    return chain(steps=[f"way {asked.sample}"])


@pytest.fixture
def server(serve: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    server = serve(script)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RJEPA_HOME", str(tmp_path / "home"))
    for name, value in {"BASE_URL": server.url, "MODEL": "large", "API_KEY": KEY}.items():
        monkeypatch.setenv(f"TEACHER_ADA_{name}", value)
    return server


def rjepa(*arguments: str, code: int = 0) -> Result:
    result = CliRunner().invoke(APP, ["teacher", *arguments], catch_exceptions=False)
    assert result.exit_code == code, result.output
    assert KEY not in result.output
    return result


def test_check_says_which_teachers_can_be_used_and_costs_nothing(server: Any, monkeypatch: Any) -> None:
    (row,) = json.loads(rjepa("check", "-t", "ada", "--json").stdout)["teachers"]
    assert (row["name"], row["status"], row["key"]) == ("ada", "ok", True) and "api_key" not in row
    assert [asked.path for asked in server.asked] == ["/v1/models"]
    monkeypatch.setenv("TEACHER_ADA_MODEL", "huge")
    assert "serves large" in rjepa("check", "-t", "ada", code=1).stdout
    server.script = lambda asked: Answer("no", 401)
    assert json.loads(rjepa("check", "-t", "ada", "--json", code=1).stdout)["teachers"][0]["status"] == "http_401"


def test_generate_makes_problems_and_chains_and_budget_shows_the_cost(server: Any, monkeypatch: Any) -> None:
    for name in ("IN", "OUT"):
        monkeypatch.setenv(f"TEACHER_ADA_USD_PER_MTOK_{name}", "1")
    arguments = ("generate", "first", "-t", "ada", "--domain", "math", "--problems", "3", "--chains", "2", "--json")
    made = json.loads(rjepa(*arguments).stdout)
    assert (made["teacher_problems"], made["teacher_chains"], made["stopped"]) == (3, 6, None)
    asked = len(server.asked)
    assert json.loads(rjepa(*arguments).stdout) == made and len(server.asked) == asked
    (row,) = json.loads(rjepa("budget", "--json").stdout)
    assert row["job"] == "first" and row["replies"] == 9 and 0 < row["usd"] == made["teacher_usd"]
    assert "9 calls paid" in rjepa("budget", "first").stdout


def test_a_job_that_runs_out_of_budget_fails_with_the_cure(server: Any, monkeypatch: Any) -> None:
    for name in ("IN", "OUT"):
        monkeypatch.setenv(f"TEACHER_ADA_USD_PER_MTOK_{name}", "1")
    monkeypatch.setenv("TEACHER_MAX_BUDGET_PER_JOB", "0.0001")
    with pytest.raises(BudgetError, match="of the budget of"):
        rjepa("generate", "first", "-t", "ada", "--domain", "math")
    assert not server.asked


def test_what_cannot_be_done_is_refused_before_a_call(server: Any) -> None:
    for arguments, error in [
        (("generate", "first", "--domain", "math"), InvalidInputError),
        (("generate", "first", "-t", "zoe", "--domain", "math"), NotFoundError),
        (("generate", "first", "-t", "ada"), InvalidInputError),
        (("generate", "../first", "-t", "ada", "--domain", "math"), InvalidInputError),
        (("generate", "first", "-t", "ada", "--dataset", "smoke", "--split", "test"), InvalidInputError),
        (("budget", "nothing"), InvalidInputError),
    ]:
        with pytest.raises(error):
            rjepa(*arguments)
    assert not server.asked
