"""A loaded release, ready to answer: the student, its R-JEPA and how to score.

The service and `rjepa solve` share it. Only what the release points at is loaded, after every byte of it was verified.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rjepa.answer import Answer, Example, Mode, check_candidates, check_mode
from rjepa.answering import explain, join_latents, make_candidates, make_reports
from rjepa.chains import parse_chain, segment_spans
from rjepa.device import best_device
from rjepa.errors import InvalidInputError
from rjepa.examples import find_examples
from rjepa.home import Home
from rjepa.inference.calibration import ScoreCalibration
from rjepa.inference.scoring import segment_energies
from rjepa.jepa.checkpoint import load_model
from rjepa.latents.normalizer import Normalizer, load_normalizer
from rjepa.latents.sampling import Sampler, open_sampler
from rjepa.parts import CALIBRATION, MODEL_FOLDER, NORMALIZER
from rjepa.progress import Progress, silent
from rjepa.releases.bundle import Manifest, release_folder, verify
from rjepa.releases.figures import read_figures
from rjepa.releases.pointer import require_current
from rjepa.students.catalog import load_record
from rjepa.students.resolving import check_student, resolve_student
from rjepa.students.sampled import GREEDY, SampledChain

if TYPE_CHECKING:
    from rjepa.jepa.model import RJepa


@dataclass(frozen=True)
class _Request:
    """A question that was checked. `temperature` 0 means greedy."""

    statement: str
    mode: Mode
    num_candidates: int
    temperature: float
    max_new_tokens: int
    prompt_tokens: int


class Engine:
    """Answers questions with one release. One request at a time: callers that share it bring the lock."""

    def __init__(
        self,
        home: Home,
        manifest: Manifest,
        student: Sampler,
        model: "RJepa",
        normalizer: Normalizer,
        calibration: ScoreCalibration,
    ) -> None:
        self.llm_tag = manifest.llm_tag
        self.release_id = manifest.release_id
        self.manifest = manifest
        self._home = home
        self._student = student
        self._model = model
        self._device = next(model.parameters()).device
        self._normalizer = normalizer
        self._calibration = calibration

    @classmethod
    def load(
        cls,
        home: Home,
        llm_tag: str,
        device: str = "auto",
        *,
        address: str | None = None,
        reuse: "Engine | None" = None,
        progress: Progress = silent,
    ) -> "Engine":
        """Load what `CURRENT` points at. The student of `reuse` is kept if the release is for the same one.

        A student with an environment of its own runs there, in a process that is started now, or that already serves it
        at `address`.

        Raises:
            NotFoundError: there is no release, or no such student.
            CorruptError: the release is not what its manifest says.
            InvalidInputError: the release was made for other weights than this student has now.
            RjepaError: the student's own environment cannot run it.
        """
        manifest = verify(home, llm_tag, require_current(home, llm_tag))
        folder = release_folder(home, llm_tag, manifest.release_id)
        if reuse is not None and reuse._student.fingerprint == manifest.student_fingerprint:
            student = reuse._student
        else:
            resolved = resolve_student(home, load_record(home, llm_tag), progress)
            check_student(f"release {manifest.release_id}", manifest.student_fingerprint, resolved)
            student = open_sampler(home, resolved, device, address)
        # Where the student is, if it is here: its latents need not be moved.
        chosen = student.device or best_device()
        model = load_model(folder / MODEL_FOLDER, chosen)
        normalizer = load_normalizer(folder / NORMALIZER)
        return cls(home, manifest, student, model, normalizer, ScoreCalibration.load(folder / CALIBRATION))

    def check(
        self,
        statement: str,
        *,
        mode: str,
        num_candidates: int,
        temperature: float | None = None,
        max_tokens: int | None = None,
    ) -> None:
        """Whether a question can be answered, without answering it.

        Raises:
            InvalidInputError: an unknown mode, a number out of range, or a statement that is empty or too long.
        """
        self._request(statement, mode, num_candidates, temperature, max_tokens)

    def answer(
        self,
        statement: str,
        *,
        mode: str = "rerank",
        num_candidates: int = 8,
        temperature: float | None = None,
        max_tokens: int | None = None,
        seed: int = 0,
        progress: Progress = silent,
    ) -> Answer:
        """Answer a problem. Equal arguments give equal answers.

        Args:
            mode: `off` is the student alone; `rerank` samples candidates and lets the release choose.
            num_candidates: of mode rerank, 1 .. 64.
            temperature: None for greedy with `off` and the student's own sampling temperature with `rerank`.
            max_tokens: most tokens of a chain; None for the student's own limit.

        Raises:
            InvalidInputError: as `check`.
        """
        request = self._request(statement, mode, num_candidates, temperature, max_tokens)
        started = time.perf_counter()
        chains = self._sample(request, seed, progress)
        if request.mode == "off":
            return self._plain(request, chains[0].text, chains[0].finished, len(chains[0].token_ids), seed, started)
        return self._ranked(request, chains, seed, started)

    def stream(
        self,
        statement: str,
        *,
        mode: str = "rerank",
        num_candidates: int = 8,
        temperature: float | None = None,
        max_tokens: int | None = None,
        seed: int = 0,
        progress: Progress = silent,
    ) -> Iterator[str | Answer]:
        """As `answer`, in pieces, the answer last: text as it comes (`off`), or the chosen chain's steps (`rerank`)."""
        request = self._request(statement, mode, num_candidates, temperature, max_tokens)
        started = time.perf_counter()
        if request.mode == "rerank":
            answer = self._ranked(request, self._sample(request, seed, progress), seed, started)
            yield from (answer.text[start:end] for start, end in segment_spans(answer.text))
            yield answer
            return
        for piece in self._student.stream(
            request.statement,
            seed=seed,
            sample_index=GREEDY if request.temperature == 0 else 0,
            temperature=request.temperature or None,
            max_new_tokens=request.max_new_tokens,
        ):
            if isinstance(piece, str):
                yield piece
            else:
                yield self._plain(request, piece.text, piece.finished, len(piece.token_ids), seed, started)

    def examples(self, limit: int) -> list[Example]:
        """Easy test problems of the release's dataset, of every domain in turn; of the curriculum if it is not here."""

        def fits(statement: str) -> bool:
            return 2 * self._student.count_prompt(statement) <= self._student.context_length

        return find_examples(self._home, self.manifest.dataset, limit, fits)

    def info(self) -> dict[str, Any]:
        """What is loaded, as plain JSON values."""
        manifest = self.manifest
        return {
            "id": manifest.release_id,
            "created": int(manifest.created_at.timestamp()),
            "dataset": manifest.dataset,
            "student_fingerprint": manifest.student_fingerprint,
            "code_version": manifest.code_version,
            "reason": manifest.reason,
            "replaces": manifest.replaces,
            "figures": None if (found := read_figures(self._home, manifest)) is None else found.model_dump(mode="json"),
            "selection": self._calibration.selection,
            "device": str(self._device),
            "device_reason": self._student.device_reason,
        }

    def warm_up(self) -> None:
        """One short answer, so that the first person who asks does not wait for what is done once."""
        self.answer("1 + 1", mode="rerank", num_candidates=2, max_tokens=8)

    def _request(
        self, statement: str, mode: str, num_candidates: int, temperature: float | None, max_tokens: int | None
    ) -> _Request:
        known = check_mode(mode)
        check_candidates(num_candidates)
        sampling = self._student.record.sampling
        if temperature is None:
            temperature = 0.0 if known == "off" else sampling.temperature
        if not 0 <= temperature <= 10:
            raise InvalidInputError(f"temperature {temperature} cannot be used", cure="choose one from 0 to 2")
        if known == "rerank" and temperature == 0 and num_candidates > 1:
            raise InvalidInputError(
                "at temperature 0 every candidate is the same, so there is nothing to choose from",
                cure="leave temperature out, or use mode off",
            )
        if max_tokens is not None and max_tokens < 1:
            raise InvalidInputError(f"{max_tokens} tokens are too few", cure="ask for at least 1 token")
        if not statement.strip():
            raise InvalidInputError("the problem is empty", cure="write the problem to solve")
        prompt_tokens, context = self._student.count_prompt(statement), self._student.context_length
        if prompt_tokens >= context:
            raise InvalidInputError(
                f"the problem has {prompt_tokens} tokens, {self.llm_tag} reads {context}", cure="shorten the problem"
            )
        limit = min(max_tokens or sampling.max_new_tokens, context - prompt_tokens)
        return _Request(statement, known, num_candidates, float(temperature), limit, prompt_tokens)

    def _sample(self, request: _Request, seed: int, progress: Progress) -> list[SampledChain]:
        greedy, count = request.temperature == 0, request.num_candidates if request.mode == "rerank" else 1
        return self._student.sample(
            [request.statement],
            [GREEDY] if greedy else list(range(count)),
            seed=seed,
            temperature=None if greedy else request.temperature,
            max_new_tokens=request.max_new_tokens,
            capture=request.mode == "rerank",
            progress=progress,
        )[0]

    def _plain(self, request: _Request, text: str, finished: bool, tokens: int, seed: int, started: float) -> Answer:
        parsed = parse_chain(text, self._student.record.segmentation)
        return Answer(
            mode=request.mode,
            text=text,
            steps=parsed.steps,
            final_answer=parsed.final_answer,
            finished=finished,
            prompt_tokens=request.prompt_tokens,
            completion_tokens=tokens,
            seed=seed,
            seconds=time.perf_counter() - started,
            llm_tag=self.llm_tag,
            release_id=self.release_id,
        )

    def _ranked(self, request: _Request, chains: list[SampledChain], seed: int, started: float) -> Answer:
        candidates = make_candidates(chains)
        energies = segment_energies(self._model, self._normalizer, join_latents(chains))
        ranking = self._calibration.rank(candidates, energies)
        reports = make_reports(candidates, ranking, energies, self._student.record.segmentation)
        winner = reports[ranking.chosen]
        return Answer(
            mode=request.mode,
            text=winner.text,
            steps=winner.steps,
            final_answer=winner.final_answer,
            finished=winner.finished,
            candidates=reports,
            p_correct=winner.p_correct,
            explanation=explain(ranking),
            prompt_tokens=request.prompt_tokens,
            completion_tokens=sum(report.tokens for report in reports),
            seed=seed,
            seconds=time.perf_counter() - started,
            llm_tag=self.llm_tag,
            release_id=self.release_id,
        )
