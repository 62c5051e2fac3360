"""Open a student with a LoRA beside one that is served: verified, ready to answer, with the base's weights held once.

What a LoRA is on the disk and which student it makes belongs to `rjepa.students.lora`; which LoRAs are served, since
when and for how long, to `serving.loras`. An answerer that comes out of here is one like any other.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import torch

from rjepa.answerer import Answerer
from rjepa.engine import Engine
from rjepa.errors import InvalidInputError, NotFoundError
from rjepa.home import Home
from rjepa.lone import LoneStudent
from rjepa.releases.bundle import load_manifest
from rjepa.releases.pointer import current_release
from rjepa.sampling.endpoint import EndpointSource, key_variable
from rjepa.sampling.endpoint_loras import EndpointLoras
from rjepa.sampling.local import LocalSource
from rjepa.sampling.protocol import ChainSource
from rjepa.students.catalog import find_record
from rjepa.students.loading import Student
from rjepa.students.lora.beside import put_beside, share_tensors
from rjepa.students.lora.files import FOLDER, Lora, open_lora
from rjepa.students.lora.registering import lora_tag
from rjepa.students.resolving import ResolvedStudent, resolve_student

_DIGITS: Final = 12
"""Of a LoRA's hash, in its name at an endpoint: one that was trained again is another model there, and both can be
served while the answers of the first come to their end."""

Value = TypeVar("Value")
Between = Callable[[Callable[[], Any]], Any]
"""Runs a function where no pass of the student runs meanwhile, and gives its result."""


@dataclass(frozen=True)
class WithLora:
    """A LoRA that is ready to answer. `release` is what its tag's `CURRENT` named when it was opened, served or not."""

    lora: Lora
    answerer: Answerer
    release: str | None
    at_endpoint: "EndpointLora | None" = None

    def renew(self) -> None:
        """Load it at the endpoint again, where it should be there and is not: the server was started again.

        Raises:
            EndpointLoraError: the server does not answer, or refuses it.
        """
        there = self.at_endpoint
        if there is not None and there.name not in there.server.served():
            there.server.load(there.name, there.path)

    def close(self) -> None:
        """Let the endpoint forget it, if it is there. No answer may be written any more.

        Raises:
            EndpointLoraError: the server does not do it.
        """
        if self.at_endpoint is not None:
            self.at_endpoint.server.unload(self.at_endpoint.name)


@dataclass(frozen=True)
class EndpointLora:
    """A LoRA at the server behind a student's endpoint, under a name of its own."""

    server: EndpointLoras
    name: str
    path: str


def verify_lora(home: Home, base: str, name: str) -> ResolvedStudent:
    """The student with this LoRA: its files hashed and compared, and the base's fingerprint with the LoRA's.

    Args:
        name: a name and never a path: what is no name is refused before a file is looked at.

    Raises:
        NotFoundError: there is no such LoRA, or no student has it.
        CorruptError: a file is not the one that was sealed.
        InvalidInputError: it was made for other weights, or is of a kind that is not served.
    """
    open_lora(home, base, name)
    record = find_record(home, lora_tag(base, name))
    if record is None or record.lora is None:
        raise NotFoundError(
            f"no student is registered with the LoRA {name} of {base}",
            cure=f"take it in: rjepa lora add NAME --llm {base} --from FOLDER",
        )
    return resolve_student(home, record)


def open_beside(
    home: Home, base: Answerer, base_tag: str, name: str, between: Between, endpoint_folder: str | None = None
) -> WithLora:
    """Open a LoRA beside a base that is served.

    Args:
        between: the base's modules are copied there.
        endpoint_folder: where the server behind the base's endpoint finds the home's loras/; None: where it is here.

    Raises:
        RjepaError: as `verify_lora`; numbers that are none; shapes that do not fit; an endpoint that refuses it.
            Nothing is left of it then.
    """
    resolved = verify_lora(home, base_tag, name)
    assert resolved.lora is not None  # `verify_lora` has seen to it
    source, at_endpoint = _open_source(home, base.source, resolved, between, endpoint_folder)
    try:
        lone, release = _answerer(home, base, source, resolved)
        # Here, and not between the base's passes: compiled layers are compiled anew for the first LoRA there ever is.
        lone.warm_up()
        return WithLora(resolved.lora, lone, release, at_endpoint)
    except BaseException:
        if at_endpoint is not None:
            at_endpoint.server.unload(at_endpoint.name)
        raise


def release_of(home: Home, base_tag: str, name: str) -> str | None:
    """The release that is current for a student with a LoRA, whether or not it holds for it."""
    return current_release(home, lora_tag(base_tag, name))


def _open_source(
    home: Home, base: ChainSource, resolved: ResolvedStudent, between: Between, endpoint_folder: str | None
) -> tuple[ChainSource, EndpointLora | None]:
    assert resolved.lora is not None
    if isinstance(base, LocalSource):
        return LocalSource(_beside(base.student, resolved, between)), None
    if isinstance(base, EndpointSource):
        lora, record = resolved.lora, base.record
        there = f"{record.llm_tag}+{lora.name}-{lora.sha256[:_DIGITS]}"
        folder = Path(endpoint_folder) if endpoint_folder else (home.root / FOLDER).resolve()
        server = EndpointLoras(record, os.environ.get(key_variable(record.llm_tag)))
        student = _beside(base.student, resolved, between, endpoint=record.endpoint, served_model=there)
        path = str(folder / lora.manifest.base / lora.name)
        server.load(there, path)
        return EndpointSource(student), EndpointLora(server, there, path)
    raise InvalidInputError(
        f"{base.record.llm_tag} runs in an environment of its own, where no LoRA can be put beside it",
        cure=f"serve the student {resolved.record.llm_tag} by itself: rjepa serve --llm {resolved.record.llm_tag}",
    )


def _beside(base: Student, resolved: ResolvedStudent, between: Between, **record: Any) -> Student:
    assert resolved.lora is not None
    tree = between(lambda: share_tensors(base.model))
    student = put_beside(base, resolved.lora, resolved.record.model_copy(update=record), resolved.fingerprint, tree)
    shared = {id(one) for one in base.model.parameters()}
    own = [(name, one) for name, one in student.model.named_parameters() if id(one) not in shared]
    for matrix, one in own:
        if not bool(torch.isfinite(one).all()):
            raise InvalidInputError(
                f"{resolved.lora.folder} holds numbers that are none (NaN or infinity) in {matrix}",
                cure="train the LoRA again, with a lower learning rate",
            )
    return student


def _answerer(
    home: Home, base: Answerer, source: ChainSource, resolved: ResolvedStudent
) -> tuple[Answerer, str | None]:
    """With the R-JEPA of a release that was made for this very student, or alone."""
    tag = resolved.record.llm_tag
    current = current_release(home, tag)
    why = "it has no release; what was made for its base does not hold for other weights"
    holds = False
    if current is not None:
        holds = load_manifest(home, tag, current).student_fingerprint == source.fingerprint
        why = f"its release {current} was made for an earlier LoRA of this name"
    lone = LoneStudent(home, source, base.dataset, why)
    return (Engine.load(home, tag, release_id=current, reuse=lone) if holds else lone), current
