"""What the service counts and times, in Prometheus's format; steps have clip-retrieval's names."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

WHOLE = "full_knn_request_time"
STEPS = {
    "download_time": "Time spent downloading an url",
    "text_clip_inference_time": "Time spent doing a text clip inference",
    "image_clip_inference_time": "Time spent decoding an image and doing a clip inference",
    "filter_time": "Time spent selecting rows by a filter",
    "metadata_get_time": "Time spent retrieving metadata",
    "knn_index_time": "Time spent doing a knn on the index",
    "dedup_time": "Time spent deduping",
    "safety_time": "Time spent doing a safety inference",
}
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    """The figures of one service."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._times = {
            name: Histogram(name, meaning, registry=self.registry, buckets=SECONDS)
            for name, meaning in {WHOLE: "Time spent processing a knn request", **STEPS}.items()
        }
        self.answers = Counter(
            "mappool_http_answers", "Answers by route and status", ["route", "status"], registry=self.registry
        )
        self.in_flight = Gauge(
            "mappool_requests_in_flight", "Requests read, waiting or worked on", registry=self.registry
        )
        self.rows = Gauge("mappool_index_rows", "Images that can be searched", ["index"], registry=self.registry)

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Time a step."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self._times[name].observe(time.perf_counter() - began)

    def exposition(self) -> bytes:
        """Return all figures in Prometheus's text format."""
        return generate_latest(self.registry)

    def summary(self) -> str:
        """Return the mean time of each step, the costliest first, for people."""
        count, mean = self._mean(WHOLE)
        if not count:
            return "No request yet, go do some\n"
        steps = sorted(((*self._mean(name), name) for name in STEPS), key=lambda step: -step[1] * step[0])
        lines = [f"Among {count} calls to the knn end point with an average latency of {mean:.4f}s per request:", ""]
        for calls, average, name in steps:
            share = calls * average / (count * mean) if mean else 0.0
            lines.append(f"{name:28}{calls:>8} calls  {average:.4f}s  {100 * share:5.1f}%  {STEPS[name]}")
        return "\n".join(lines) + "\n"

    def _mean(self, name: str) -> tuple[int, float]:
        samples = {
            sample.name.removeprefix(name): sample.value for sample in next(iter(self._times[name].collect())).samples
        }
        count = int(samples["_count"])
        return count, samples["_sum"] / count if count else 0.0
