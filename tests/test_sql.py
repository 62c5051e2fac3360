import json
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from rjepa.cli.sql import register
from rjepa.datasets.versions import create_version
from rjepa.errors import InvalidInputError
from rjepa.files import write_json
from rjepa.home import Home
from rjepa.schemas import Candidate
from rjepa.sql import ask
from tests.datasets.growing import first_version, make, register_more
from tests.latents.rows import Prompted, write_latents, write_rollouts

APP = typer.Typer()
register(APP)
APP.callback()(lambda: None)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """Two versions, latents, rollouts and a report; read only. The folder's name would end a careless SQL string."""
    home = Home(tmp_path_factory.mktemp("sql") / "it's home")
    first_version(home)
    register_more(home)
    create_version(home, "v0.2.0", parent="v0.1.0", adds=["more"])
    make(home, "v0.2.0")
    candidate = Candidate(
        problem_id="p",
        sample_index=0,
        text="Answer: 1\n",
        steps=[],
        final_answer="1",
        finished=True,
        token_logprobs=[-0.5],
        is_correct=True,
    )
    rows = np.zeros((3, 4), np.float16)
    write_latents(home, "tiny-a", "v0.1.0", [Prompted("p", "c", rows, rows[:1])])
    write_rollouts(home, "tiny-a", "v0.1.0", [candidate])
    rows = [{"method": "majority", "label": "Majority", "domain": "all", "problems": 9, "accuracy": 0.5}]
    write_json(home.reports("tiny-a", "v0.1.0") / "report.json", {"leaderboard": {"rows": rows}})
    return home


@pytest.mark.parametrize(
    ("query", "rows"),
    [
        ("select dataset, problems, parent from datasets order by 1", [("v0.1.0", 40, None), ("v0.2.0", 56, "v0.1.0")]),
        ("select dataset, count(*) from problems group by 1 order by 1", [("v0.1.0", 40), ("v0.2.0", 56)]),
        ('select count(*), count(distinct problem_id) from "v0.2.0".problems', [(56, 56)]),
        ('select count(*) from "v0.2.0".chains c anti join "v0.2.0".problems p using (problem_id)', [(0,)]),
        ("select llm_tag, dataset, split, segments from latents", [("tiny-a", "v0.1.0", "train", 3)]),
        ("select llm_tag, dataset, is_correct, text from rollouts", [("tiny-a", "v0.1.0", True, "Answer: 1\n")]),
        ("select llm_tag, dataset, method, accuracy from reports", [("tiny-a", "v0.1.0", "majority", 0.5)]),
        ("select count(*) > 0 from problems where json_exists(meta, '$.structure')", [(True,)]),
        ("from datasets select count(*)", [(2,)]),
    ],
)
def test_the_home_answers(home: Home, query: str, rows: list[tuple]) -> None:
    assert ask(home, query).rows == rows


@pytest.mark.parametrize("view", ["datasets", "problems", "chains", "latents", "rollouts", "reports"])
def test_an_empty_home_has_the_same_columns_and_no_rows(home: Home, tmp_path: Path, view: str) -> None:
    empty = ask(Home(tmp_path), f"select * from {view}")
    assert empty.rows == [] and set(empty.columns) == set(ask(home, f"select * from {view}").columns)


FORBIDDEN = [
    "copy (select 1) to '{outside}'",
    "copy problems to '{inside}'",
    "export database '{outside}'",
    "create table t as select 1",
    "insert into datasets select * from datasets",
    "delete from datasets",
    "drop view problems",
    "attach '{outside}'",
    "install httpfs",
    "load httpfs",
    "set enable_external_access = true",
    "pragma enable_profiling",
    "call pragma_version()",
    "explain analyze select 1",
    "select 1; select 2",
    "select 1; copy (select 1) to '{outside}'",
    "select * from read_csv('/etc/passwd')",
    "select * from read_text('/etc/passwd')",
    "select * from read_blob('{secret}')",
    "select * from '/etc/passwd'",
    "select * from read_parquet('{secret}')",
    "select * from glob('/etc/*')",
    "select * from read_csv('https://example.com/x.csv')",
    "select * from read_parquet('s3://bucket/x.parquet')",
    "select * from query('copy (select 1) to ''{outside}''')",
    "select getenv('HOME')",
    "select * from home",
    "",
    "nonsense",
]


@pytest.mark.parametrize("query", FORBIDDEN)
def test_nothing_is_written_and_nothing_else_is_read(home: Home, tmp_path: Path, query: str) -> None:
    inside, outside, secret = home.dataset("v0.1.0") / "problems.parquet", tmp_path / "out", tmp_path / "secret.parquet"
    secret.write_bytes(inside.read_bytes())
    before = {path: path.stat().st_mtime_ns for path in home.root.rglob("*")}
    with pytest.raises(InvalidInputError) as caught:
        ask(home, query.format(inside=str(inside).replace("'", "''"), outside=outside, secret=secret))
    assert caught.value.cure
    assert {path: path.stat().st_mtime_ns for path in home.root.rglob("*")} == before
    assert not outside.exists()


def rjepa(*arguments: str) -> str:
    result = CliRunner().invoke(APP, ["sql", *arguments], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_verb_prints_a_table_json_or_csv(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RJEPA_HOME", str(home.root))
    query = "select dataset, problems, parent from datasets order by 1"
    assert rjepa(query).splitlines()[2].split() == ["v0.1.0", "40"]
    assert json.loads(rjepa(query, "--json"))[1] == {"dataset": "v0.2.0", "problems": 56, "parent": "v0.1.0"}
    assert rjepa(query, "--csv").splitlines() == ["dataset,problems,parent", "v0.1.0,40,", "v0.2.0,56,v0.1.0"]
    assert len(json.loads(rjepa("select * from problems", "--json", "--limit", "5"))) == 5
    assert json.loads(rjepa("select created_at from chains", "--json", "--limit", "1"))[0]["created_at"]
    with pytest.raises(InvalidInputError, match="at once"):
        rjepa(query, "--json", "--csv")
