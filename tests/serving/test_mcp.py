"""Every MCP tool, driven by the official SDK's client: over streamable HTTP to a running service, and over stdio."""

import asyncio
import contextlib
import getpass
import hashlib
import os
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from mcp import Client
from mcp.client.stdio import StdioServerParameters
from mcp.client.streamable_http import streamable_http_client

from rjepa.database import open_database
from rjepa.feedback.interactions import find, list_interactions
from rjepa.feedback.records import Owner
from rjepa.feedback.reviews import list_reviews
from rjepa.home import Home
from rjepa.keys import create_key
from rjepa.living.settings import read_settings, settings_changes
from rjepa.releases.history import history
from rjepa.releases.pointer import current_release, promote
from rjepa.students.catalog import load_record
from rjepa.students.gguf_files import read_gguf_header
from rjepa.students.loading import Student
from rjepa.students.resolving import resolve_student
from serving.app import create_app
from serving.settings import ServiceSettings
from tests.patience import PATIENCE
from tests.tiny_release import STATEMENT, TAG

from .dagster_server import Dagster, serve_dagster
from .fakes import fake_loader, publish, running, wait_for_release

TOOLS = {
    "add_training_example",
    "disable_learning",
    "enable_learning",
    "force_update",
    "get_learning_stats",
    "load_weights",
    "save_weights",
    "set_learning_rate",
}


class Server:
    """A home with two releases, an MCP server over it, and one client that stays connected."""

    def __init__(self, home: Home, dagster: Dagster, who: str, portal: BlockingPortal, client: Client) -> None:
        self.home, self.dagster, self.who, self._portal, self.client = home, dagster, who, portal, client
        student = resolve_student(home, load_record(home, "tiny-a")).fingerprint
        self.first, self.second = (publish(home, seed, fingerprint=student) for seed in (1, 2))

    def ask(self, work: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
        """Run a call of the client's in its own loop."""
        return self._portal.call(work, *arguments)

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """What a tool returns."""
        result = self.ask(self.client.call_tool, tool, arguments)
        assert not result.is_error, result.content
        value: dict[str, Any] = result.structured_content
        return value

    def refusal(self, tool: str, **arguments: Any) -> str:
        """The words of a refusal."""
        result = self.ask(self.client.call_tool, tool, arguments)
        assert result.is_error
        return str(result.content[0].text)


@pytest.fixture(scope="module")
def dagster() -> Iterator[Dagster]:
    with serve_dagster() as dagster:
        yield dagster


@pytest.fixture(scope="module", params=["http", "http-legacy", "stdio"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, dagster: Dagster
) -> Iterator[Server]:
    home = Home(tmp_path_factory.mktemp(request.param))
    with contextlib.ExitStack() as stack:
        if request.param == "stdio":
            who, connected = f"account:{getpass.getuser()}", over_stdio(home.root, RJEPA_DAGSTER_URL=dagster.url)
        else:
            with open_database(home) as database:
                key, record = create_key(database, "assistant", "operator")
            settings = ServiceSettings(
                home=home.root, require_key=True, dagster_url=dagster.url, reload_seconds=0.05, _env_file=None
            )
            address = stack.enter_context(running(create_app(settings, fake_loader(home))))
            mode = "legacy" if request.param == "http-legacy" else "auto"
            who, connected = f"key:{record.key_id}", over_http(address, key, mode)
        portal = stack.enter_context(start_blocking_portal())
        client = stack.enter_context(portal.wrap_async_context_manager(connected))
        yield Server(home, dagster, who, portal, client)


def over_stdio(root: Path, **environment: str) -> Client:
    """A client of `rjepa mcp` in a process of its own."""
    given = {**os.environ, "RJEPA_HOME": str(root), **environment}
    arguments = ["-m", "rjepa.cli.main", "mcp"]
    return Client(StdioServerParameters(command=sys.executable, args=arguments, env=given, cwd=root.parent))


@contextlib.asynccontextmanager
async def over_http(address: str, key: str, mode: Any) -> AsyncIterator[Client]:
    async with httpx2.AsyncClient(headers={"authorization": f"Bearer {key}"}, timeout=PATIENCE) as http:
        transport = streamable_http_client(f"{address.removesuffix('/v1')}/mcp", http_client=http)
        async with Client(transport, mode=mode) as client:
            yield client


def test_the_tools_are_there_with_what_they_do(server: Server) -> None:
    tools = {tool.name: tool for tool in server.ask(server.client.list_tools).tools}
    assert set(tools) == TOOLS
    for tool in tools.values():
        assert tool.description and tool.input_schema["type"] == "object" and tool.annotations, tool.name
        assert "path" not in str(tool.input_schema).lower(), tool.name
    assert [name for name, tool in tools.items() if tool.annotations.read_only_hint] == ["get_learning_stats"]
    assert [name for name, tool in tools.items() if tool.annotations.destructive_hint] == ["load_weights"]


def test_learning_is_turned_on_and_off_in_the_callers_name(server: Server) -> None:
    assert server.call("enable_learning", reason="a try")["settings"]["enabled"] is True
    assert server.dagster.switches == {"new_feedback": "RUNNING", "nightly": "RUNNING"}
    assert server.call("disable_learning")["settings"]["enabled"] is False
    assert server.dagster.switches == {"new_feedback": "STOPPED", "nightly": "STOPPED"}
    with open_database(server.home) as database:
        off, on = settings_changes(database, limit=2)
    assert (on.who, on.reason, off.who) == (server.who, "a try", server.who)


def test_the_learning_rate_has_a_ceiling(server: Server) -> None:
    assert server.call("set_learning_rate", learning_rate=0.001)["settings"]["learning_rate"] == 0.001
    assert "above its ceiling of 0.002" in server.refusal("set_learning_rate", learning_rate=0.01)
    for wrong in ("0.001", None, True, [0.001]):
        assert "learning_rate" in server.refusal("set_learning_rate", learning_rate=wrong)
    with open_database(server.home) as database:
        assert read_settings(database).learning_rate == 0.001


def test_a_forced_update_is_a_run_of_dagster(server: Server) -> None:
    server.dagster.launched.clear()
    assert server.call("force_update")["run_id"] == "eb47a618-398b"
    assert [run["selector"]["jobName"] for run in server.dagster.launched] == ["living_night"]
    server.dagster.refuses = True
    assert "no such job" in server.refusal("force_update")
    server.dagster.refuses = False


def test_weights_are_loaded_by_release_id_and_by_nothing_else(server: Server) -> None:
    promote(server.home, "tiny-a", server.second)
    loaded = server.call("load_weights", release_id=server.first, reason="it was better")
    assert loaded == {"release": server.first, "replaced": server.second}
    assert current_release(server.home, "tiny-a") == server.first
    move = history(server.home, "tiny-a")[-1]
    assert (move.action, move.target) == ("rollback", server.first)
    assert server.who in move.reason and "it was better" in move.reason
    folder = server.home.releases("tiny-a")
    for name in ("../../etc/passwd", str(folder / server.second), f"{server.second}/../{server.first}", "", "CURRENT"):
        words = server.refusal("load_weights", release_id=name)
        assert "is not a release id" in words or "at most 64 characters" in words
    assert "has no release" in server.refusal("load_weights", release_id="20200101T000000Z-0123456789ab")
    assert current_release(server.home, "tiny-a") == server.first


@pytest.mark.parametrize("form", ["safetensors", "gguf"])
def test_weights_are_saved_by_release_id_where_the_home_keeps_them(server: Server, form: str) -> None:
    saved = server.call("save_weights", release_id=server.second, form=form)
    folder = Path(saved["folder"])
    assert folder.is_relative_to(server.home.root.resolve()) and saved["release"] == server.second
    for name, digest in saved["files"].items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    assert "model/model.safetensors" in saved["files"] and "manifest.json" in saved["files"]
    if form == "gguf":
        assert read_gguf_header(folder / "tiny-a.gguf").metadata["general.architecture"] == "qwen3"
    else:
        assert "student/model.safetensors" in saved["files"] and "student/tokenizer.json" in saved["files"]
    assert "is not a release id" in server.refusal("save_weights", release_id="../../etc", form=form)
    assert "form" in server.refusal("save_weights", form="pickle")


PENS = "Mia has 14 pens and buys 5 more; Tom has 2 fewer than she has then. How many pens has Tom?"
SOLUTION = "Step 1: Mia has 14 + 5 = 19 pens.\nStep 2: Tom has 19 - 2 = 17 pens.\nAnswer: 17"


def test_an_operators_example_is_kept_in_the_callers_name_and_accepted(server: Server) -> None:
    added = server.call("add_training_example", input=PENS, target=SOLUTION)
    assert added["written_by"] == "operator" and added["weight"] == 1
    with open_database(server.home) as database:
        kept, decided = find(database, added["id"]), list_reviews(database)[added["id"]]
    assert kept is not None and kept.content is not None and kept.owner == Owner(server.who)
    assert kept.content.statement == PENS and kept.content.final_answer == "17" and len(kept.content.steps) == 2
    assert (decided.decision, decided.reviewer) == ("accept", server.who)


@pytest.mark.parametrize(("weight", "decision"), [(0, "skip"), (-1, "reject"), (-0.5, "reject"), (2.5, "accept")])
def test_the_weight_decides_what_becomes_of_an_example(server: Server, weight: int, decision: str) -> None:
    added = server.call("add_training_example", input=PENS, target=SOLUTION, weight=weight)
    with open_database(server.home) as database:
        assert list_reviews(database)[added["id"]].decision == decision
        kept = find(database, added["id"])
    assert kept is not None and kept.content is not None and kept.content.weight == (weight if weight > 0 else 1)


def test_an_example_that_does_not_fit_is_refused_and_kept_nowhere(server: Server) -> None:
    with open_database(server.home) as database:
        before = len(list_interactions(database))
    for arguments, words in (
        ({"input": "", "target": SOLUTION}, "at least 1 character"),
        ({"input": "   ", "target": SOLUTION}, "a problem with a solution"),
        ({"input": PENS, "target": "Step 1: it is obvious"}, "a solution that has steps and an answer"),
        ({"input": PENS, "target": SOLUTION, "weight": 11}, "weight"),
        ({"input": "x" * 20_001, "target": SOLUTION}, "20000"),
    ):
        assert words in server.refusal("add_training_example", **arguments), arguments
    with open_database(server.home) as database:
        assert len(list_interactions(database)) == before


def test_the_stats_say_what_is_served_and_who_changed_what(server: Server) -> None:
    server.call("enable_learning", reason="for the stats")
    stats = server.call("get_learning_stats")
    assert stats["status"]["enabled"] and stats["status"]["served"] == current_release(server.home, "tiny-a")
    assert stats["status"]["dagster"]["switches"][0] == {
        "kind": "sensor",
        "name": "new_feedback",
        "running": True,
        "next_at": 1795989600.0,
    }
    assert stats["config"]["limits"]["learning_rate"]["maximum"] == 0.05


def test_a_tool_or_an_argument_that_is_not_there_is_refused(server: Server) -> None:
    assert "no_such_tool" in server.refusal("no_such_tool")
    assert "release_id" in server.refusal("load_weights")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, dict[str, str]]]:
    """A service with keys of every role."""
    home = Home(tmp_path_factory.mktemp("guarded"))
    publish(home, 1)
    with open_database(home) as database:
        keys = {role: create_key(database, role, role)[0] for role in ("viewer", "user", "operator")}
    settings = ServiceSettings(home=home.root, require_key=True, reload_seconds=0.05, _env_file=None)
    app = create_app(settings, fake_loader(home))
    with running(app) as address:
        wait_for_release(app)
        yield address.removesuffix("/v1"), keys


PING = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
ACCEPT = {"accept": "application/json, text/event-stream"}


def test_http_asks_for_an_operators_key(guarded: tuple[str, dict[str, str]]) -> None:
    address, keys = guarded
    for key, status in ((None, 401), ("rjepa_wrong", 401), (keys["viewer"], 403), (keys["user"], 403)):
        headers = ACCEPT | ({"authorization": f"Bearer {key}"} if key else {})
        reply = httpx2.post(f"{address}/mcp", json=PING, headers=headers)
        assert reply.status_code == status and reply.json()["error"]["cure"]
    reply = httpx2.post(f"{address}/mcp", json=PING, headers=ACCEPT | {"authorization": f"Bearer {keys['operator']}"})
    assert reply.status_code == 200 and len(reply.json()["result"]["tools"]) == len(TOOLS)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "https://evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"host": "evil.example"}, 400),
        ({"content-type": "text/plain"}, 415),
    ],
)
def test_pages_elsewhere_and_rebound_names_reach_no_tool(
    guarded: tuple[str, dict[str, str]], headers: dict[str, str], status: int
) -> None:
    address, keys = guarded
    given = {"content-type": "application/json", "authorization": f"Bearer {keys['operator']}", **ACCEPT, **headers}
    assert httpx2.post(f"{address}/mcp", json=PING, headers=given).status_code == status


@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_there_are_no_sessions_to_listen_to_or_to_end(guarded: tuple[str, dict[str, str]], method: str) -> None:
    address, keys = guarded
    given = {"authorization": f"Bearer {keys['operator']}", "accept": "text/event-stream"}
    assert httpx2.request(method, f"{address}/mcp", headers=given).status_code == 405


def test_stdio_speaks_nothing_but_the_protocol_on_stdout(tmp_path: Path) -> None:
    """A home that cannot be used: the error is an answer to the call, and stdout has no other line."""
    (tmp_path / "home").write_text("a file, not a folder")

    async def session() -> Any:
        async with over_stdio(tmp_path / "home") as client:
            return await client.call_tool("enable_learning", {})

    result = asyncio.run(session())
    assert result.is_error and "RJEPA_HOME" in result.content[0].text


@pytest.mark.slow
def test_over_stdio_the_release_itself_answers_what_comes_without_a_solution(
    tiny_release: tuple[Home, Student], tmp_path: Path
) -> None:
    home = Home(tmp_path / "home")
    shutil.copytree(tiny_release[0].root, home.root)

    async def session() -> list[Any]:
        async with over_stdio(home.root, RJEPA_LLM=TAG) as client:
            given = [{"input": STATEMENT}, {"input": STATEMENT, "target": "one million"}]
            return [await client.call_tool("add_training_example", arguments) for arguments in given]

    added, refused = asyncio.run(session())
    assert not added.is_error and added.structured_content["written_by"] == "release", added.content
    assert refused.is_error and "and not to one million" in refused.content[0].text
    with open_database(home) as database:
        (kept,) = list_interactions(database)
    assert kept.content is not None and kept.content.statement == STATEMENT
    assert kept.content.candidates and kept.release_id == current_release(home, TAG)
