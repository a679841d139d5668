"""Read a running service's metrics."""

import httpx
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample


def scrape(url: str) -> list[Sample]:
    """Return all samples of the service's /metrics."""
    families: list[Metric] = list(text_string_to_metric_families(httpx.get(f"{url}/metrics", timeout=10).text))
    return [sample for family in families for sample in family.samples]


def stage_seconds(samples: list[Sample]) -> dict[str, float]:
    """Return the seconds that the service has spent in each stage so far."""
    return {
        sample.labels["stage"]: sample.value for sample in samples if sample.name == "asr_stage_duration_seconds_sum"
    }
