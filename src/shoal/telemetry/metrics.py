"""Publishes the tally in Prometheus' text format; with several workers their sum (prometheus_client's multiprocess mode)."""

import os

from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from shoal.telemetry.tally import Tally

CONTENT_TYPE = b"text/plain; version=0.0.4; charset=utf-8"
_LABELS = ("endpoint", "model", "provider", "status")


class Metrics:
    """Counters fed from a tally. Unit names follow Prometheus: seconds, USD, totals."""

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._registry = CollectorRegistry()
        self._requests = self._counter("shoal_requests", "Settled requests.")
        self._input = self._counter("shoal_input_tokens", "Tokens read, as upstreams report them.")
        self._output = self._counter("shoal_output_tokens", "Tokens written, as upstreams report them.")
        self._cost = self._counter("shoal_cost_usd", "Charged, in USD; requests with unknown prices add nothing.")
        self._overhead = self._counter("shoal_overhead_seconds", "Time spent in the gateway itself.")
        self._duration = self._counter("shoal_duration_seconds", "Time from a request's first byte to its settlement.")

    def _counter(self, name: str, text: str) -> Counter:
        return Counter(name, text, _LABELS, registry=self._registry)

    def publish(self) -> None:
        """Move what the tally has gathered into the counters."""
        for (endpoint, model, provider, status), counts in self._tally.take().items():
            labels = (endpoint, model, provider, str(status))
            self._requests.labels(*labels).inc(counts.requests)
            self._input.labels(*labels).inc(counts.input_tokens)
            self._output.labels(*labels).inc(counts.output_tokens)
            self._cost.labels(*labels).inc(counts.cost_nano / 1e9)
            self._overhead.labels(*labels).inc(counts.overhead_us / 1e6)
            self._duration.labels(*labels).inc(counts.duration_us / 1e6)

    def text(self) -> bytes:
        """Everything published, by all workers."""
        self.publish()
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return generate_latest(self._registry)
        everyone = CollectorRegistry()
        MultiProcessCollector(everyone)  # type: ignore[no-untyped-call]
        return generate_latest(everyone)
