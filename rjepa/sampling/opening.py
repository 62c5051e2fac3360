"""Which source writes a student's chains: the one module that knows them all."""

from rjepa.errors import InvalidInputError
from rjepa.home import Home
from rjepa.sampling.local import LocalSource
from rjepa.sampling.protocol import ChainSource
from rjepa.students.loading import Student, load_student
from rjepa.students.resolving import ResolvedStudent


def source_of(student: Student) -> ChainSource:
    """Who writes the chains of a loaded student: the server at its endpoint, if it has one, else its own model."""
    if student.record.endpoint is None:
        return LocalSource(student)
    from rjepa.sampling.endpoint import EndpointSource  # a student's own environment may lack the openai client

    return EndpointSource(student)


def open_source(home: Home, resolved: ResolvedStudent, device: str = "auto", address: str | None = None) -> ChainSource:
    """The student of a record, ready: loaded here, or in a process of its own environment, which is started unless one
    serves it at `address` already.

    Raises:
        InvalidInputError: it cannot be loaded, or the process serves other weights than these.
        RjepaError: the environment or its process cannot be used.
    """
    if resolved.record.environment is None and address is None:
        return source_of(load_student(resolved, device))
    from rjepa.sampling.process import ProcessSource

    source = ProcessSource(home, resolved.record, address)
    if source.fingerprint != resolved.fingerprint:
        source.close()
        raise InvalidInputError(
            f"the process of {resolved.record.llm_tag} serves {source.fingerprint[:12]}, its files are "
            f"{resolved.fingerprint[:12]}",
            cure="start that process again: the files have changed since",
        )
    return source
