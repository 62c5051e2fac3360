"""Figures for Prometheus at GET /metrics. Nothing of what is asked or answered is in them, and no client's name."""

import statistics
from typing import Final

from fastapi import APIRouter, Request
from fastapi.responses import Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from rjepa.reasoning.answer import Answer
from serving.collecting import note_answer

router = APIRouter()

_SECONDS: Final = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 600.0)
"""From a static file to the longest answer that the default limits allow."""
_TENTHS: Final = tuple(tenth / 10 for tenth in range(1, 11))
_ENERGIES: Final = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0)
"""An L1 distance of normalised latents: about 0.8 for no expectation at all, more for the very strange."""


class Metrics:
    """Every figure of one service, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "rjepa_requests", "Replies by route and status", ("method", "route", "status"), registry=self.registry
        )
        self.seconds = Histogram(
            "rjepa_request_seconds",
            "Seconds to the end of a reply",
            ("route",),
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.tokens = Counter("rjepa_tokens", "Tokens by kind: read or generated", ("kind",), registry=self.registry)
        self.answers = Counter("rjepa_answers", "Answers by mode", ("mode",), registry=self.registry)
        self.p_correct = Histogram(
            "rjepa_answer_p_correct", "P(correct) of answers that have one", buckets=_TENTHS, registry=self.registry
        )
        self.energy = Histogram(
            "rjepa_answer_energy", "Mean energy of an answer's steps", buckets=_ENERGIES, registry=self.registry
        )
        self.quality = Histogram(
            "rjepa_quality",
            "Quality of answers and votes: speed, completion, P(correct) or energy; 0 for a failure",
            buckets=_TENTHS,
            registry=self.registry,
        )
        self.quality_dropped = Counter(
            "rjepa_quality_dropped", "Answers and votes that no window has for want of room", registry=self.registry
        )
        self.in_flight = Gauge("rjepa_in_flight", "Questions answered or waiting", registry=self.registry)
        self.queue = Gauge("rjepa_queue_length", "Questions waiting for the model", registry=self.registry)
        self.release = Gauge("rjepa_release", "1 for what is served", ("llm", "release"), registry=self.registry)
        self.reloads = Counter("rjepa_reloads", "Loads of a release by outcome", ("outcome",), registry=self.registry)
        self._rejected = Counter(
            "rjepa_rejected", "Requests and connections that were refused", ("reason",), registry=self.registry
        )

    def rejected(self, reason: str) -> None:
        """Count a refusal; `reason` is one of a few words of ours."""
        self._rejected.labels(reason).inc()

    def loaded(self, llm_tag: str, release_id: str) -> None:
        """A release is served from now on."""
        self.release.clear()
        self.release.labels(llm_tag, release_id).set(1)
        self.reloads.labels("ok").inc()

    def rated(self, quality: float) -> None:
        """Count the quality of an answer or a vote."""
        self.quality.observe(quality)

    def rating_dropped(self) -> None:
        """Count one that was dropped."""
        self.quality_dropped.inc()

    def answered(self, answer: Answer) -> None:
        """Count an answer."""
        self.answers.labels(answer.mode).inc()
        self.tokens.labels("generated").inc(answer.cost.tokens_generated)
        self.tokens.labels("read").inc(answer.cost.tokens_read)
        if answer.p_correct is not None:
            self.p_correct.observe(answer.p_correct)
        if energies := answer.step_energies:
            self.energy.observe(statistics.fmean(energies))
        note_answer(answer)


@router.get("/metrics", include_in_schema=False)
async def metrics(request: Request) -> Response:
    """Prometheus' text format."""
    figures: Metrics = request.app.state.metrics
    return Response(generate_latest(figures.registry), headers={"content-type": CONTENT_TYPE_LATEST})
