"""A service wakes job workers: one message for each waiting job."""

import io
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from asr_service.engine.request_options import RequestOptions
from asr_service.errors import Unavailable
from asr_service.jobs.cluster.broker import Broker
from asr_service.jobs.cluster.notifier import WorkerNotifier
from asr_service.jobs.records import JobSpec
from asr_service.jobs.service import Jobs, open_jobs
from asr_service.settings import load_settings
from redis_server import RedisServer
from waiting import until_async


class FakeBroker:
    """Holds messages, unless it is down."""

    def __init__(self) -> None:
        self.n_messages = 0
        self.is_down = False

    def wake(self, n_waiting: int) -> int:
        if self.is_down:
            raise Unavailable("no")
        n_missing = max(n_waiting - self.n_messages, 0)
        self.n_messages += n_missing
        return n_missing

    def close(self) -> None:
        pass


@asynccontextmanager
async def notifying(directory: Path, broker: FakeBroker) -> AsyncIterator[Jobs]:
    jobs = open_jobs(load_settings({}, state_dir=directory))
    assert jobs is not None
    notifier = WorkerNotifier(jobs, broker, interval_s=0.05)
    notifier.start()
    yield jobs
    await notifier.close()
    jobs.close()


async def submit(jobs: Jobs) -> None:
    await jobs.submit("alice", JobSpec(RequestOptions()), io.BytesIO(b"sound"))


async def messages(broker: FakeBroker, number: int) -> None:
    await until_async(lambda: broker.n_messages == number)


async def test_each_waiting_job_has_a_message(tmp_path):
    """Also after the broker has lost them."""
    broker = FakeBroker()
    async with notifying(tmp_path, broker) as jobs:
        for number in (1, 2):
            await submit(jobs)
            await messages(broker, number)
        broker.n_messages = 0
        await messages(broker, 2)


async def test_a_job_is_accepted_while_the_broker_is_down(tmp_path):
    """Its message follows."""
    broker = FakeBroker()
    broker.is_down = True
    async with notifying(tmp_path, broker) as jobs:
        await submit(jobs)
        broker.is_down = False
        await messages(broker, 1)


def test_messages_are_counted_in_redis(redis_server: RedisServer) -> None:
    """They are sent only if they are missing, and services with another prefix have their own."""
    broker, other = Broker(redis_server.url, "one"), Broker(redis_server.url, "two")
    assert (broker.wake(3), broker.wake(4), broker.wake(2), other.wake(1)) == (3, 1, 0, 1)
    for each in (broker, other):
        each.close()


@pytest.mark.parametrize("query", ["", "?ssl_ca_certs=/etc/ssl/ca.pem"])
def test_the_certificate_of_a_redis_is_checked(query):
    """Celery would accept every certificate."""
    connection = Broker(f"rediss://localhost:1/0{query}", "asr").celery.connection_for_write()
    assert connection.ssl["ssl_cert_reqs"] is ssl.CERT_REQUIRED


def test_a_broker_that_cannot_be_reached_is_unavailable(tmp_path):
    with pytest.raises(Unavailable, match="broker"):
        Broker(f"unix://{tmp_path}/missing.sock", "asr").wake(1)
