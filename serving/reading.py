"""From an engine that answers questions to what it answers with: the student's source and the release's parts.

For routes that ask the student or R-JEPA something that is no question.
"""

from typing import TYPE_CHECKING

from serving.errors import NotReadyError
from serving.host import AnswersQuestions

if TYPE_CHECKING:
    from rjepa.engine import Engine
    from rjepa.sampling.protocol import ChainSource


def engine_behind(engine: AnswersQuestions) -> "Engine":
    """The engine itself, with its source and its parts.

    Raises:
        NotReadyError: what answers here is no engine over a release.
    """
    from rjepa.engine import Engine  # torch comes with it, and the service is up before it is

    if not isinstance(engine, Engine):
        raise NotReadyError("no release is loaded", cure="try again in a few seconds")
    return engine


def source_of(engine: AnswersQuestions) -> "ChainSource":
    """Who writes and reads for the student (NotReadyError as above)."""
    return engine_behind(engine).source
