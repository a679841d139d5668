"""A real Prometheus with the deployed configuration and shorter intervals."""

import re
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml

from deploy.monitoring import PROMETHEUS, RULE_FILES
from waiting import until

Sample = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Prometheus:
    http: httpx.Client

    def query(self, expr: str) -> list[Sample]:
        """Return the samples of an instant query. Fails if Prometheus refuses the expression."""
        answer = self.http.get("/api/v1/query", params={"query": expr}).json()
        assert answer["status"] == "success", f"{expr}: {answer}"
        result: list[Sample] = answer["data"]["result"]
        return result

    def rules(self) -> list[dict[str, Any]]:
        groups = self.http.get("/api/v1/rules").json()["data"]["groups"]
        return [rule for group in groups for rule in group["rules"]]

    def firing(self) -> set[tuple[str, str]]:
        """Return the names and instances of the alerts that fire."""
        samples = [sample["metric"] for sample in self.query('ALERTS{alertstate="firing"}')]
        return {(each["alertname"], each.get("instance", "")) for each in samples}

    def answers(self) -> bool:
        with suppress(httpx.TransportError):
            return self.http.get("/-/ready").status_code == 200
        return False


@contextmanager
def scraping(
    target: str,
    folder: Path,
    *,
    blackbox: str | None = None,
    more_jobs: Sequence[dict[str, Any]] = (),
    **more_targets: Sequence[str],
) -> Iterator[Prometheus]:
    """Scrape `target` (host:port) each second, with alerts that fire without their `for` time.

    `more_targets` are further addresses, by the name of their file of targets; `blackbox` is the address of the
    exporter that connects to those of `tls`; `more_jobs` are added to the deployed ones.
    """
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    config["global"] |= {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"}
    (tls,) = (job for job in config["scrape_configs"] if job["job_name"] == "asr-tls")
    tls["scrape_interval"] = "1s"
    tls["relabel_configs"][-1]["replacement"] = blackbox
    config["scrape_configs"] += more_jobs
    (folder / "targets").mkdir(parents=True)
    (folder / "rules").mkdir()
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    for name, addresses in {"asr-service": [target], **more_targets}.items():
        (folder / f"targets/{name}.yml").write_text(yaml.safe_dump([{"targets": list(addresses)}]))
    for path in RULE_FILES:
        (folder / "rules" / path.name).write_text(re.sub(r"\n +for: \w+", "", path.read_text()))
    address = f"127.0.0.1:{free_port()}"
    command = ["prometheus", f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([*command, f"--web.listen-address={address}"], stderr=log, stdout=log)
    try:
        with httpx.Client(base_url=f"http://{address}", timeout=60) as http:
            prometheus = Prometheus(http)
            until(prometheus.answers, what="Prometheus")
            yield prometheus
    finally:
        process.kill()
        process.wait(10)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])
