"""Learning control as MCP tools, for assistants and programs that speak the Model Context Protocol.

Over stdio (`rjepa mcp`) they act as the account that runs them; over HTTP (`/mcp` of the service) as the key that the
guards have let in. What they do is `rjepa.control`, as with the routes of `serving.learning`.
"""

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, Final

import structlog
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.transport_security import TransportSecuritySettings
from mcp.types import ToolAnnotations
from pydantic import Field, StrictFloat, StrictInt
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from rjepa.control import exporting, weights
from rjepa.control.acting import Changed, NightBegun, begin_night, change, disable, enable
from rjepa.control.examples import LONGEST, AddedExample, Weight
from rjepa.control.exporting import Form, Saved
from rjepa.control.place import Place
from rjepa.control.state import LearningStats, read_stats
from rjepa.control.weights import Loaded
from rjepa.errors import RjepaError
from rjepa.living.settings import LONGEST_REASON
from serving import answering
from serving.answering import Answers
from serving.document import VERSION

MCP_PATH: Final = "/mcp"

_LOG = structlog.get_logger("serving")
_INSTRUCTIONS: Final = (
    "Control how R-JEPA learns from its users. Look with get_learning_stats first. Training runs in Dagster: "
    "force_update begins a run and returns its id at once. Releases are named by id; no tool takes a path."
)
_TARGET: Final = (
    'the solution, "Step 1: ..." one line each and "Answer: ..." last; or the right answer alone, to which the served '
    "release then has to come; without it the release answers, and the weight counts as a vote"
)
_LOOKS: Final = ToolAnnotations(read_only_hint=True, open_world_hint=False)
_CHANGES: Final = ToolAnnotations(
    read_only_hint=False, destructive_hint=False, idempotent_hint=True, open_world_hint=False
)
_SERVES: Final = ToolAnnotations(
    read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=False
)
_ADDS: Final = ToolAnnotations(
    read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=False
)

Who = Callable[[], str]
Reason = Annotated[str, Field(max_length=LONGEST_REASON, description="one line, kept with the change")]
ReleaseId = Annotated[str, Field(max_length=64, description="id of a release, such as 20260101T120000Z-814c5b2a627d")]


def make_server(place: Place, who: Who, answers: Answers) -> MCPServer:
    """A server with every tool.

    Args:
        who: says who asks, at the time of a call.
        answers: lets the release answer a problem that comes without a solution.
    """
    _keep_the_loggers()
    server = MCPServer(
        "rjepa", title="R-JEPA learning control", instructions=_INSTRUCTIONS, version=VERSION, subscriptions=False
    )
    tool = functools.partial(_add, server)

    async def get_learning_stats() -> LearningStats:
        """Whether learning is on, what is served and since when, what the last night decided and why, when the next is,
        what is missing to it, every setting, and how live answers do.
        """
        return await asyncio.to_thread(read_stats, place)

    async def enable_learning(reason: Reason = "") -> Changed:
        """Let nights learn by themselves from what users approved. Nothing is trained at once."""
        return await asyncio.to_thread(enable, place, who=who(), reason=reason)

    async def disable_learning(reason: Reason = "") -> Changed:
        """Begin no further night. What is served stays."""
        return await asyncio.to_thread(disable, place, who=who(), reason=reason)

    async def set_learning_rate(
        learning_rate: Annotated[
            StrictFloat | StrictInt, Field(description="of AdamW, above 0 and at most the ceiling")
        ],
        reason: Reason = "",
    ) -> Changed:
        """Set the learning rate of the next night. Above the ceiling it is refused."""
        return await asyncio.to_thread(change, place, {"learning_rate": learning_rate}, who=who(), reason=reason)

    async def force_update() -> NightBegun:
        """Begin a night now, in Dagster. Its limits hold, and its gate alone decides what is served."""
        return await asyncio.to_thread(begin_night, place)

    async def load_weights(release_id: ReleaseId, reason: Reason = "") -> Loaded:
        """Serve a release that is there already, at once and without the gate: an operator's decision, kept in the
        history of releases. Every byte of it is verified first.
        """
        return await asyncio.to_thread(weights.load_weights, place, release_id, who=who(), reason=reason)

    async def save_weights(release_id: ReleaseId | None = None, form: Form = "safetensors") -> Saved:
        """Write a release (the served one unless another is named) and its student to the exports folder of the home,
        verified. `form` is the student's: safetensors, or one gguf file for llama.cpp.
        """
        return await asyncio.to_thread(exporting.save_weights, place, release_id, form)

    async def add_training_example(
        input: Annotated[str, Field(min_length=1, max_length=LONGEST, description="the problem")],
        target: Annotated[str | None, Field(max_length=LONGEST, description=_TARGET)] = None,
        weight: Weight = 1.0,
    ) -> AddedExample:
        """Give an example for the next night: a problem with its solution, with its answer alone, or with neither."""
        return await answering.add_training_example(place, answers, input, target, weight, who())

    tool(get_learning_stats, _LOOKS)
    tool(enable_learning, _CHANGES)
    tool(disable_learning, _CHANGES)
    tool(set_learning_rate, _CHANGES)
    tool(add_training_example, _ADDS)
    tool(force_update, _ADDS)
    tool(load_weights, _SERVES)
    tool(save_weights, _CHANGES)
    return server


def mcp_route(server: MCPServer) -> Route:
    """The route of a server in the service: each POST is one request and one JSON reply, and nothing is kept between.

    GET and DELETE, which belong to sessions, answer 405, as the protocol asks where there are none. Host, origin, key
    and size were checked by the service's own guards before.
    """
    server.streamable_http_app(
        streamable_http_path=MCP_PATH,
        json_response=True,
        stateless_http=True,
        transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
    )
    return Route(MCP_PATH, _Endpoint(server.session_manager.handle_request), methods=["POST"])


class _Endpoint:
    """An ASGI app for a route: Starlette calls functions with a request, and objects as they are."""

    path = MCP_PATH

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["route"] = self  # FastAPI notes its own routes so, for the log and the figures
        await self._app(scope, receive, send)


def _add(server: MCPServer, function: Callable[..., Awaitable[Any]], annotations: ToolAnnotations) -> None:
    """Add a tool. Our errors reach the client with their cure; others are logged here and tell it nothing."""

    @functools.wraps(function)
    async def call(**arguments: Any) -> Any:
        try:
            return await function(**arguments)
        except RjepaError as error:
            raise ToolError(f"{error.problem} -> {error.cure}") from error
        except Exception as error:  # noqa: BLE001 - whatever it is, the log knows and the client is told nothing of it
            _LOG.error("failed", exc_info=error)
            raise ToolError("the tool failed -> see the log of the service") from None

    server.add_tool(call, annotations=annotations)


def _keep_the_loggers() -> None:
    """The SDK gives the root logger a handler of its own unless there is one, and its lines hold words of arguments.
    Ours are JSON without them.
    """
    root = logging.getLogger()
    if not root.handlers and logging.lastResort is not None:
        root.addHandler(logging.lastResort)
    logging.getLogger("mcp").setLevel(logging.CRITICAL)
