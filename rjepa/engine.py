"""A loaded release: it verifies and owns the parts, and hands them to the mode that a question asks for.

The service, `rjepa solve` and the evaluation share it. Only what the release points at is loaded, after every byte of
it was verified. What it has in common with a student that has no release is `rjepa.answerer`; how an answer comes about
lives in `rjepa.reasoning`.
"""

from typing import Any

from rjepa.adapters.describing import summarise_carried
from rjepa.adapters.opening import WorldModelFiles
from rjepa.answerer import Answerer
from rjepa.device import best_device
from rjepa.home import Home
from rjepa.inference.calibration import ScoreCalibration
from rjepa.parts import CALIBRATION, GUIDANCE_FOLDER, GUIDED_CALIBRATION, VERBALIZER_FOLDER
from rjepa.progress import Progress, silent
from rjepa.reasoning.answering import Desk
from rjepa.reasoning.mode import Mode
from rjepa.reasoning.modes import modes_offered
from rjepa.reasoning.question import Question
from rjepa.reasoning.tools import Parts, Writer
from rjepa.releases.bundle import Manifest, release_folder, verify
from rjepa.releases.figures import read_figures
from rjepa.releases.pointer import require_current
from rjepa.sampling.opening import open_source
from rjepa.sampling.protocol import ChainSource
from rjepa.students.catalog import load_record
from rjepa.students.resolving import check_student, resolve_student
from rjepa.verbalizer.checkpoint import load_decoder
from rjepa.verbalizer.guiding import Guidance
from rjepa.verbalizer.speaking import Verbalizer


class Engine(Answerer):
    """Answers questions with one release."""

    def __init__(
        self, home: Home, manifest: Manifest, student: ChainSource, parts: Parts, desk: Desk | None = None
    ) -> None:
        """desk: that of another release with the same student, whose questions are answered in one batch with these."""
        super().__init__(home, student, parts, manifest.dataset, desk)
        self.manifest = manifest
        self._parts = parts

    @classmethod
    def load(
        cls,
        home: Home,
        llm_tag: str,
        device: str = "auto",
        *,
        release_id: str | None = None,
        address: str | None = None,
        reuse: "Answerer | None" = None,
        progress: Progress = silent,
    ) -> "Engine":
        """Load a release; None for what `CURRENT` points at. The student of `reuse` is kept if it is for the same one.

        A student with an environment of its own runs there, in a process that is started now, or that already serves it
        at `address`.

        Raises:
            NotFoundError: there is no release, or no such student.
            CorruptError: the release is not what its manifest says.
            InvalidInputError: the release was made for other weights than this student has now.
            RjepaError: the student's own environment cannot run it.
        """
        manifest = verify(home, llm_tag, release_id or require_current(home, llm_tag))
        folder = release_folder(home, llm_tag, manifest.release_id)
        if reuse is not None and reuse._student.fingerprint == manifest.student_fingerprint:
            student, desk = reuse._student, reuse._desk
        else:
            resolved = resolve_student(home, load_record(home, llm_tag), progress)
            check_student(f"release {manifest.release_id}", manifest.student_fingerprint, resolved)
            student, desk = open_source(home, resolved, device, address), None
        # Where the student is, if it is here: its latents need not be moved.
        model, reader = WorldModelFiles.laid_out(folder).open(student.device or best_device())
        parts = Parts(
            llm_tag=llm_tag,
            release_id=manifest.release_id,
            segmentation=student.record.segmentation,
            sampling_temperature=student.record.sampling.temperature,
            model=model,
            reader=reader,
            calibration=ScoreCalibration.load(folder / CALIBRATION),
            capabilities=student.capabilities,
            verbalizer=Verbalizer(load_decoder(folder / VERBALIZER_FOLDER)) if manifest.has({"verbalizer"}) else None,
            guidance=Guidance.load(folder / GUIDANCE_FOLDER) if manifest.has({"guidance"}) else None,
            guided_calibration=(
                ScoreCalibration.load(folder / GUIDED_CALIBRATION) if GUIDED_CALIBRATION in manifest.files else None
            ),
        )
        return cls(home, manifest, student, parts, desk)

    @property
    def writer(self) -> Writer:
        """The release's own name, and how its student writes."""
        return self._parts

    @property
    def parts(self) -> Parts:
        """What the release brings."""
        return self._parts

    @property
    def modes(self) -> tuple[str, ...]:
        """Names of the modes that the release has the parts for, fitted as needed, and the student the powers."""
        return tuple(name for name in modes_offered(self.manifest) if self._can(name))

    def info(self) -> dict[str, Any]:
        """What is loaded, as plain JSON values."""
        manifest = self.manifest
        return {
            "id": manifest.release_id,
            "created": int(manifest.created_at.timestamp()),
            "dataset": manifest.dataset,
            "student_fingerprint": manifest.student_fingerprint,
            "carried": None if manifest.carried is None else summarise_carried(manifest.carried),
            "code_version": manifest.code_version,
            "reason": manifest.reason,
            "replaces": manifest.replaces,
            "figures": None if (found := read_figures(self._home, manifest)) is None else found.model_dump(mode="json"),
            "selection": self._parts.calibration.selection,
            "step_threshold": self._parts.calibration.step_threshold,
            "step_quantiles": list(self._parts.calibration.step_quantiles),
            "device": str(self._parts.model.device),
            "device_reason": self._student.device_reason,
        }

    def _require_parts(self, mode: Mode) -> None:
        self.manifest.require(mode.parts, f"mode {mode.name}")

    def _fit(self, mode: Mode, question: Question, writer: Writer) -> None:
        assert isinstance(writer, Parts)  # it is `writer`, with other powers perhaps
        mode.fit(question, writer)
