"""LoRAs of the served student: loaded while it answers, chosen by the model's name, refused where not whole."""

import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

import serving.app as service_app
from rjepa.cli.main import build_app
from rjepa.database import open_database
from rjepa.files import read_json, write_json
from rjepa.home import Home
from rjepa.living.windows import Window, add_windows
from rjepa.lone import LoneStudent
from rjepa.reasoning.answering import Desk
from rjepa.reasoning.events import Working
from rjepa.reasoning.question import Message
from rjepa.reasoning.question import ask as question
from rjepa.releases.student_gate import VERDICT, StudentDecision
from rjepa.sampling.opening import open_source
from rjepa.students.catalog import load_record
from rjepa.students.loading import Student, load_student
from rjepa.students.lora.files import WEIGHTS, lora_folder, read_lora, seal_lora
from rjepa.students.lora.registering import lora_tag
from rjepa.students.resolving import resolve_student
from serving.app import create_app
from serving.loras import RULE
from serving.quality import Item
from serving.settings import ServiceSettings
from tests.patience import PATIENCE, wait_until
from tests.students.loras import put_lora
from tests.tiny_release import STATEMENT, TAG, publish, register_student, taught_folder

from .fakes import running, wait_for_release
from .test_real_engine import SlowSource

MESSAGES: list[Any] = [{"role": "user", "content": STATEMENT}]
NAMES = ("night-1", "night-2", "night-3")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, Student]:
    """A home with a release of a tiny student and three LoRAs of it, as peft wrote them; the last changes little."""
    root = tmp_path_factory.mktemp("loras")
    home = Home(root / "home")
    student = register_student(home, taught_folder(tmp_path_factory))
    publish(home, student, root / "sources")
    for seed, name in enumerate(NAMES):
        put_lora(home, load_record(home, TAG), name, root / name, seed, lora_alpha=1e-3 if name == "night-3" else 8)
    return home, student


def settings_of(home: Home, **more: Any) -> ServiceSettings:
    return ServiceSettings(home=home.root, llm=TAG, reload_seconds=0.05, api_key=None, _env_file=None, **more)


@pytest.fixture(scope="module")
def service(made: tuple[Home, Student]) -> Iterator[tuple[str, Any]]:
    app = create_app(settings_of(made[0]))
    with running(app) as address:
        wait_for_release(app)
        yield address, app


@pytest.fixture
def address(service: tuple[str, Any]) -> Iterator[str]:
    """The service; afterwards it has no LoRAs again."""
    yield service[0]
    assert reload(service[0]).status_code == 200


@pytest.fixture
def client(address: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{address}/v1", api_key="x", max_retries=0) as client:
        yield client


def reload(address: str, *names: str) -> httpx.Response:
    return httpx.post(f"{address}/v1/lora/reload", json={"adapter_ids": list(names)}, timeout=60)


def state(address: str) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{address}/v1/lora", timeout=60).json()
    return found


def loaded(address: str) -> set[str]:
    return {one["id"] for one in state(address)["data"] if one["loaded"]}


def ask(client: openai.OpenAI, model: str, temperature: float = 1.0, **more: Any) -> str:
    reply = client.chat.completions.create(model=model, messages=MESSAGES, seed=5, temperature=temperature, **more)
    assert reply.model == model
    return str(reply.choices[0].message.content)


def alone(home: Home, name: str, temperature: float = 1.0) -> str:
    """What the student with this LoRA writes where it is loaded by itself, merged."""
    record = load_record(home, lora_tag(TAG, name)).model_copy(update={"endpoint": None, "served_model": None})
    resolved = resolve_student(home, record)
    student = LoneStudent(home, open_source(home, resolved, "cpu"), "v1.0.0", "it is a test")
    asked = question([Message(role="user", content=STATEMENT)], "off", {}, seed=5, temperature=temperature)
    return student.answer(asked).text


def test_a_lora_is_chosen_by_the_models_name_and_answers_as_it_does_alone(
    client: openai.OpenAI, address: str, made: tuple[Home, Student]
) -> None:
    base = ask(client, TAG)
    reply = reload(address, "night-1", "night-2").json()
    assert [(one["id"], one["loaded"]) for one in reply["data"]] == [(name, name != "night-3") for name in NAMES]
    answers = {name: ask(client, f"{TAG}+{name}") for name in ("night-1", "night-2")}
    assert len({base, *answers.values()}) == 3 and ask(client, TAG) == base
    assert answers == {name: alone(made[0], name) for name in answers}
    listed = {model.id: model.model_extra for model in client.models.list()}
    for name in answers:
        entry = listed[f"{TAG}+{name}"]["rjepa"]
        assert entry["parent"] == TAG and entry["modes"] == ["off"]
        assert client.models.retrieve(f"{TAG}+{name}:off").id == f"{TAG}+{name}:off"
        assert ask(client, f"{TAG}+{name}:off") == answers[name]
    shown = httpx.get(f"{address}/v1/info").json()["loras"]
    assert [one["model"] for one in shown] == [f"{TAG}+{name}" for name in answers]
    with pytest.raises(openai.NotFoundError, match="night-3' is not loaded"):
        ask(client, f"{TAG}+night-3")


def test_the_weights_of_the_base_are_held_once(address: str, service: tuple[str, Any]) -> None:
    reload(address, *NAMES)
    base = {name: one for name, one in service[1].state.host.engine().source.student.model.named_parameters()}
    for one in service[1].state.loras.loaded.values():
        student = one.answerer.source.student
        its = {name.replace(".base_layer", ""): tensor for name, tensor in student.model.named_parameters()}
        assert all(its[name].data_ptr() == tensor.data_ptr() for name, tensor in base.items())
        assert type(student.fused[0]) is type(student.beside.fused[0])


def test_modes_that_need_an_rjepa_are_refused_until_the_student_with_the_lora_has_a_release(
    client: openai.OpenAI, address: str, made: tuple[Home, Student], tmp_path: Path
) -> None:
    reload(address, "night-3")
    with pytest.raises(openai.BadRequestError, match=r"needs an R-JEPA.*no release.* -> .*rjepa backfill --llm"):
        ask(client, f"{TAG}+night-3:rerank")
    with pytest.raises(openai.BadRequestError, match="needs an R-JEPA"):
        ask(client, f"{TAG}+night-3", extra_body={"rjepa": {"mode": "rerank"}})
    scored = {"model": f"{TAG}+night-3", "problem": STATEMENT, "chains": ["Step 1: 7\nAnswer: 7\n"]}
    assert "needs an R-JEPA" in httpx.post(f"{address}/v1/rjepa/score", json=scored).json()["error"]["message"]
    home = made[0]
    student = load_student(resolve_student(home, load_record(home, lora_tag(TAG, "night-3"))), "cpu")
    release = publish(home, student, tmp_path)
    try:
        wait_until(lambda: f"{TAG}+night-3:rerank" in {model.id for model in client.models.list()})
        reply = client.chat.completions.create(model=f"{TAG}+night-3:rerank", messages=MESSAGES, seed=5)
        assert reply.model_extra["rjepa"]["release_id"] == release and reply.model_extra["rjepa"]["candidates"]
    finally:
        shutil.rmtree(home.releases(lora_tag(TAG, "night-3")))
    wait_until(lambda: f"{TAG}+night-3:rerank" not in {model.id for model in client.models.list()})


def test_anybody_with_the_home_generates_an_answer_again_from_its_receipt(
    client: openai.OpenAI, address: str, made: tuple[Home, Student], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reload(address, "night-1")
    body = {"rjepa": {"seed": 5, "keep_question": True}}
    reply = client.chat.completions.create(model=f"{TAG}+night-1", messages=MESSAGES, temperature=1.0, extra_body=body)
    (tmp_path / "reply.json").write_text(reply.model_dump_json(), encoding="utf-8")
    monkeypatch.setenv("RJEPA_HOME", str(made[0].root))
    found = CliRunner().invoke(build_app(), ["verify", str(tmp_path / "reply.json")])
    assert found.exit_code == 0, found.output


def flip_a_byte(folder: Path) -> None:
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[-5] ^= 1
    (folder / WEIGHTS).write_bytes(bytes(data))


def lose_a_file(folder: Path) -> None:
    (folder / WEIGHTS).unlink()


def resealed(change: Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]) -> Callable[[Path], None]:
    """Other matrices with hashes that fit them."""

    def damage(folder: Path) -> None:
        manifest = read_lora(folder).manifest
        save_file(change(load_file(folder / WEIGHTS)), folder / WEIGHTS)
        seal_lora(folder, folder.parent / "fresh", manifest)
        shutil.rmtree(folder)
        (folder.parent / "fresh").rename(folder)

    return damage


def of_another_base(folder: Path) -> None:
    manifest = read_json(folder / "lora.json")
    write_json(folder / "lora.json", manifest | {"base_fingerprint": "e" * 64})


def narrower(matrices: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: one[:, :-1].contiguous() if "lora_A" in name else one for name, one in matrices.items()}


def not_numbers(matrices: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    next(iter(matrices.values()))[0, 0] = torch.nan
    return matrices


@pytest.mark.parametrize(
    ("damage", "status", "words"),
    [
        (flip_a_byte, 409, "not the file that was sealed"),
        (lose_a_file, 404, "does not exist"),
        (of_another_base, 400, "was made for"),
        (resealed(narrower), 400, ""),
        (resealed(not_numbers), 400, "NaN"),
    ],
)
def test_a_lora_that_is_not_whole_is_refused_and_the_old_set_goes_on(
    client: openai.OpenAI,
    address: str,
    made: tuple[Home, Student],
    tmp_path: Path,
    damage: Callable[[Path], None],
    status: int,
    words: str,
) -> None:
    folder = lora_folder(made[0], TAG, "night-2")
    shutil.copytree(folder, tmp_path / "whole")
    assert reload(address, "night-1").status_code == 200
    before, moves = ask(client, f"{TAG}+night-1"), state(address)["moves"]
    try:
        damage(folder)
        refused = reload(address, "night-1", "night-2")
    finally:
        shutil.rmtree(folder)
        shutil.copytree(tmp_path / "whole", folder)
    assert refused.status_code == status, refused.text
    assert words in refused.json()["error"]["message"] and refused.json()["error"]["cure"]
    assert loaded(address) == {"night-1"} and state(address)["moves"] == moves
    assert ask(client, f"{TAG}+night-1") == before
    assert reload(address, "night-1", "night-2").status_code == 200


def test_a_loaded_lora_whose_file_changes_on_the_disk_is_refused_and_goes_on_as_it_was(
    client: openai.OpenAI, address: str, made: tuple[Home, Student], tmp_path: Path
) -> None:
    folder = lora_folder(made[0], TAG, "night-1")
    reload(address, "night-1")
    before = ask(client, f"{TAG}+night-1")
    shutil.copytree(folder, tmp_path / "whole")
    try:
        flip_a_byte(folder)
        assert reload(address, "night-1", "night-2").status_code == 409
        assert ask(client, f"{TAG}+night-1") == before and loaded(address) == {"night-1"}
    finally:
        shutil.copy(tmp_path / "whole" / WEIGHTS, folder / WEIGHTS)


def test_what_the_gate_refused_is_served_only_where_an_operator_says_so(
    address: str, made: tuple[Home, Student]
) -> None:
    resolved = resolve_student(made[0], load_record(made[0], lora_tag(TAG, "night-2")))
    verdict = StudentDecision(
        passed=False,
        reason="worse",
        text="it is worse: arithmetic -4.0 points",
        claims=("arithmetic",),
        dataset="v1.0.0",
        fingerprint=resolved.fingerprint,
        base_fingerprint=made[1].fingerprint,
        findings=(),
    )
    file = lora_folder(made[0], TAG, "night-2") / VERDICT
    write_json(file, verdict.model_dump(mode="json"))
    try:
        refused = reload(address, "night-1", "night-2")
        assert refused.status_code == 409 and "it is worse: arithmetic" in refused.json()["error"]["message"]
        assert loaded(address) == set()
        body = {"adapter_ids": ["night-1", "night-2"], "despite_gate": True, "reason": "to compare"}
        taken = httpx.post(f"{address}/v1/lora/reload", json=body, timeout=60).json()
        assert taken["moves"][0]["reason"] == "despite the gate; to compare" and taken["data"][1]["gate"] == "refused"
    finally:
        file.unlink()


@pytest.mark.parametrize("name", ["../night-1", "..", "/etc/passwd", "night-1/../../x", "night-1\x00", ".hidden", ""])
def test_an_id_is_a_name_and_never_a_path(address: str, name: str) -> None:
    reload(address, "night-1")
    refused = reload(address, "night-1", name)
    assert refused.status_code == 400 and loaded(address) == {"night-1"}
    quoted = "".join(f"%{byte:02x}" for byte in name.encode()) or "%20"
    assert httpx.delete(f"{address}/v1/lora/{quoted}").status_code in (400, 404)
    assert loaded(address) == {"night-1"}


def test_unknown_and_repeated_names_and_too_many_are_refused(address: str, service: tuple[str, Any]) -> None:
    assert reload(address, "night-9").status_code == 404
    assert "known: night-1" in reload(address, "night-9").json()["error"]["message"]
    assert "twice" in reload(address, "night-1", "night-1").json()["error"]["message"]
    assert "more than" in reload(address, *(f"a{number}" for number in range(9))).json()["error"]["message"]
    assert httpx.post(f"{address}/v1/lora/reload", json={"adapters": ["night-1"]}).status_code == 400
    assert httpx.delete(f"{address}/v1/lora/night-1").status_code == 404
    assert loaded(address) == set()


def test_no_request_fails_while_the_set_changes_under_load(client: openai.OpenAI, address: str) -> None:
    reload(address, "night-1")
    expected = {model: ask(client, model) for model in (TAG, f"{TAG}+night-1")}
    stop, failures, answers = threading.Event(), list[BaseException](), list[tuple[str, str]]()

    def load(model: str) -> None:
        while not stop.is_set():
            try:
                answers.append((model, ask(client, model)))
            except openai.APIError as error:
                failures.append(error)

    threads = [threading.Thread(target=load, args=(model,)) for model in (*expected, *expected)]
    for thread in threads:
        thread.start()
    for names in 3 * [("night-1", "night-2"), ("night-3", "night-1"), ("night-1",)]:
        assert reload(address, *names).status_code == 200
        assert loaded(address) == set(names)
    assert reload(address, "night-1", "night-9").status_code == 404
    stop.set()
    for thread in threads:
        thread.join(PATIENCE)
    assert not failures and len(answers) >= 8
    assert {(model, text) for model, text in answers} == set(expected.items())


def test_an_answer_that_is_being_written_comes_to_its_end_when_its_lora_is_taken_out(
    client: openai.OpenAI, address: str, service: tuple[str, Any]
) -> None:
    reload(address, "night-1")
    whole = ask(client, f"{TAG}+night-1", max_tokens=12)
    answerer = service[1].state.loras.loaded["night-1"].answerer
    answerer._desk = Desk(SlowSource(answerer.source))  # type: ignore[arg-type]
    stream = client.chat.completions.create(
        model=f"{TAG}+night-1", messages=MESSAGES, seed=5, temperature=1.0, max_tokens=12, stream=True
    )
    chunks = [next(stream), next(stream)]
    gone = httpx.delete(f"{address}/v1/lora/night-1")
    assert gone.status_code == 200 and loaded(address) == set()
    with pytest.raises(openai.NotFoundError):
        ask(client, f"{TAG}+night-1")
    chunks += list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole
    assert chunks[-1].choices[0].finish_reason in ("stop", "length")


def test_another_process_follows_and_a_restart_serves_the_same(
    client: openai.OpenAI, address: str, made: tuple[Home, Student]
) -> None:
    reload(address, "night-2")
    app = create_app(settings_of(made[0]))
    with running(app) as other:
        wait_until(lambda: loaded(other) == {"night-2"})
        reload(address, "night-2", "night-3")
        wait_until(lambda: loaded(other) == {"night-2", "night-3"})
        assert httpx.delete(f"{other}/v1/lora/night-2").status_code == 200
        wait_until(lambda: loaded(address) == {"night-3"})
        with openai.OpenAI(base_url=f"{other}/v1", api_key="x", max_retries=0) as its:
            assert ask(its, f"{TAG}+night-3") == ask(client, f"{TAG}+night-3")


def test_one_that_cannot_be_opened_after_a_restart_is_named_and_the_others_are_served(
    address: str, made: tuple[Home, Student], tmp_path: Path
) -> None:
    reload(address, "night-1", "night-2")
    folder = lora_folder(made[0], TAG, "night-1")
    shutil.move(folder, tmp_path / "away")
    try:
        app = create_app(settings_of(made[0]))
        with running(app) as other:
            wait_until(lambda: loaded(other) == {"night-2"})
            entry = next(one for one in state(other)["data"] if one["id"] == "night-1")
            assert "no LoRA 'night-1'" in entry["problem"] and entry["cure"]
    finally:
        shutil.move(tmp_path / "away", folder)


def test_what_does_worse_than_the_base_is_taken_out_by_rule(
    made: tuple[Home, Student], address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reload(address, "night-1", "night-2")
    monkeypatch.setattr(service_app, "FLUSH_SECONDS", 0.1)
    app = create_app(settings_of(made[0]))
    with running(app) as watching:
        wait_until(lambda: loaded(watching) == {"night-1", "night-2"})
        served = app.state.loras.loaded
        with open_database(made[0]) as database:
            with database.reading() as connection:
                now = database.now_ms(connection)
            base = app.state.host.engine().release_id

            def window(release: str, down: int) -> Window:
                more = {"thumbs_down": down, "thumbs_up": 100 - down, "answers": 100}
                return Window(llm_tag=TAG, release_id=release, started_at_ms=now, ended_at_ms=now + 1, **more)

            worse, equal = (served[name].answerer.release_id for name in ("night-1", "night-2"))
            add_windows(database, [window(base, 20), window(worse, 70), window(equal, 22)])
        wait_until(lambda: loaded(watching) == {"night-2"})
        move = state(watching)["moves"][0]
        assert (move["action"], move["names"], move["who"]) == ("health", ["night-1"], RULE)
        assert "thumbs down 70 of 100 (before: 20 of 100" in move["reason"]
        left = next(one for one in state(watching)["data"] if one["id"] == "night-2")
        assert left["health"]["verdict"] == "healthy"
    wait_until(lambda: loaded(address) == {"night-2"})


def test_answers_and_errors_of_a_lora_count_for_it_and_not_for_the_base(
    client: openai.OpenAI, address: str, service: tuple[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    reload(address, "night-1")
    quality, answerer = service[1].state.quality, service[1].state.loras.loaded["night-1"].answerer
    items: list[Item] = []  # seen as they come: the service writes what it holds away once a minute
    monkeypatch.setattr(quality, "add", items.append)
    ask(client, f"{TAG}+night-1")
    wait_until(lambda: items)
    assert [(item.release_id, item.failed) for item in items] == [(answerer.release_id, False)]

    def fails(questions: object) -> Iterator[Any]:
        yield 0, Working(1)
        raise RuntimeError("of this LoRA alone")

    monkeypatch.setattr(answerer, "run_many", fails)
    with pytest.raises(openai.InternalServerError):
        ask(client, f"{TAG}+night-1")
    wait_until(lambda: len(items) > 1)
    assert [(item.release_id, item.failed) for item in items[1:]] == [(answerer.release_id, True)]


def test_only_operators_change_what_is_served(made: tuple[Home, Student], monkeypatch: pytest.MonkeyPatch) -> None:
    from rjepa.keys import create_key

    with open_database(made[0]) as database:
        keys = {role: create_key(database, f"of-{role}", role=role)[0] for role in ("viewer", "user", "operator")}
    app = create_app(settings_of(made[0], require_key=True))
    with running(app) as address:
        for role, key in keys.items():
            headers = {"authorization": f"Bearer {key}"}
            body = {"adapter_ids": []}
            found = [
                httpx.get(f"{address}/v1/lora", headers=headers).status_code,
                httpx.post(f"{address}/v1/lora/reload", headers=headers, json=body).status_code,
                httpx.delete(f"{address}/v1/lora/night-1", headers=headers).status_code,
            ]
            assert found == ([200, 200, 404] if role == "operator" else [403, 403, 403])


def test_the_monitor_shows_the_loras_and_lets_an_operator_take_one_out(address: str) -> None:
    reload(address, "night-1")
    for language, words in (("en", "here, not served"), ("fr", "présent, non servi")):
        page = httpx.get(f"{address}/v1/lora/section?lang={language}").text
        assert f"{TAG}+night-1" in page and words in page and 'data-unload="night-1"' in page
        assert 'data-unload="night-2"' not in page
