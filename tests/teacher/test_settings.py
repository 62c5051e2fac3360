import logging
from pathlib import Path

import pytest

from rjepa.errors import InvalidInputError, NotFoundError
from rjepa.home import Home
from rjepa.teacher import load_teachers

from .conftest import KEY

BASE = {"TEACHER_ADA_BASE_URL": "https://api.example.com/v1/", "TEACHER_ADA_MODEL": "large"}


def load(**more: str):  # noqa: ANN201
    return load_teachers(environ=BASE | more, env_file=None)


def test_a_teacher_is_read_from_the_environment_and_others_beside_it() -> None:
    teachers = load(
        TEACHER_ADA_API_KEY=KEY,
        TEACHER_ADA_RPM="60",
        TEACHER_ADA_USD_PER_MTOK_IN="0.5",
        TEACHER_BEN_TWO_BASE_URL="http://127.0.0.1:9000/v1",
        TEACHER_BEN_TWO_MODEL="small",
        TEACHER_MAX_BUDGET_PER_JOB="2.5",
    )
    ada, ben = teachers.choose(["ada", "ben-two"])
    assert (ada.base_url, ada.model, ada.rpm, ada.usd_per_mtok_in) == ("https://api.example.com/v1", "large", 60, 0.5)
    assert ada.secret == KEY and ben.secret is None
    assert teachers.budget_usd == 2.5


def test_a_key_is_in_no_text_that_a_teacher_turns_into() -> None:
    ada = load(TEACHER_ADA_API_KEY=KEY).by_name["ada"]
    assert all(KEY not in text for text in (repr(ada), str(ada), ada.model_dump_json(), str(ada.model_dump())))


def test_a_wrong_value_is_named_and_never_shown() -> None:
    with pytest.raises(InvalidInputError, match="rpm") as caught:
        load(TEACHER_ADA_API_KEY=KEY, TEACHER_ADA_RPM="fast-secret")
    assert "fast-secret" not in str(caught.value) and KEY not in str(caught.value)
    with pytest.raises(InvalidInputError, match="TEACHER_MAX_BUDGET_PER_JOB"):
        load(TEACHER_MAX_BUDGET_PER_JOB="-1")


def test_a_variable_with_a_typo_is_reported_not_ignored() -> None:
    assert load(TEACHER_ADA_BASEURL="x").not_understood == ["TEACHER_ADA_BASEURL"]


def test_a_dot_env_file_counts_and_the_environment_wins(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("TEACHER_ADA_BASE_URL=http://localhost:1/v1\nTEACHER_ADA_MODEL=filed\nTEACHER_ADA_RPM=7\n")
    ada = load_teachers(environ={"TEACHER_ADA_MODEL": "given"}, env_file=str(file)).by_name["ada"]
    assert (ada.model, ada.rpm) == ("given", 7)


def test_a_yaml_file_describes_a_teacher_and_may_not_hold_its_key(tmp_path: Path) -> None:
    home = Home(tmp_path)
    folder = home.registry / "teachers"
    folder.mkdir(parents=True)
    (folder / "cy.yaml").write_text("base_url: http://localhost:1/v1\nmodel: m\n")
    cy = load_teachers(home, {"TEACHER_CY_API_KEY": KEY}, None).by_name["cy"]
    assert (cy.model, cy.secret) == ("m", KEY)
    (folder / "cy.yaml").write_text(f"base_url: http://localhost:1/v1\nmodel: m\napi_key: {KEY}\n")
    with pytest.raises(InvalidInputError, match="API key") as caught:
        load_teachers(home, {}, None)
    assert KEY not in str(caught.value) and "TEACHER_CY_API_KEY" in caught.value.cure


def test_an_unknown_teacher_is_answered_with_the_variables_to_set() -> None:
    with pytest.raises(NotFoundError) as caught:
        load().choose(["zoe"])
    assert "TEACHER_ZOE_BASE_URL" in caught.value.cure


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest/meta-data",
        "http://169.254.170.2/v2",
        "http://[fd00:ec2::254]/",
        "http://[::ffff:169.254.169.254]/",
        "http://[64:ff9b::a9fe:a9fe]/",
        "http://2852039166/",
        "http://0xa9fea9fe/",
        "http://0251.0376.0251.0376/",
        "http://metadata.google.internal/v1",
        "http://METADATA.google.internal./v1",
        "http://100.100.100.200/",
        "file:///etc/passwd",
        "ftp://example.com/v1",
        "gopher://127.0.0.1/",
        "https://user:secret@example.com/v1",
        "https://example.com/v1?key=secret",
        "https:///v1",
        "http://[::1",
        "example.com/v1",
    ],
)
def test_addresses_that_are_never_called(url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    with pytest.raises(InvalidInputError, match="base_url") as caught:
        load(TEACHER_ADA_BASE_URL=url)
    assert "secret" not in str(caught.value) + caplog.text


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:8000/v1", "http://[::1]:1/v1", "http://10.0.0.7/v1", "http://gpu/v1"]
)
def test_a_model_at_home_may_be_a_teacher(url: str) -> None:
    assert load(TEACHER_ADA_BASE_URL=url).by_name["ada"].base_url == url
