"""The messages that wake job workers, through Celery on Redis.

A message is empty and means that a job may wait. The records of the store are the truth: a worker that gets a message
claims the next job in the store's order, or nothing. So a message that is lost, or delivered twice, does no harm.
"""

from collections.abc import Callable
from typing import Any, Final

from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import ReadOnlyError, RedisError

from asr_service.errors import Unavailable

TASK: Final = "asr_service.run_next_job"
_QUEUE: Final = "jobs"
_SOCKET_TIMEOUT_S: Final = 5.0
_DAY_S: Final = 24 * 3600
"""The time after which Redis delivers a message again whose worker has not ended it. Nothing depends on it: the leases
of the store find lost workers within seconds."""


class Broker:
    """The queue of messages. Its methods block for at most a few seconds."""

    def __init__(self, url: str, prefix: str) -> None:
        """Use the Redis of ASR_JOBS_URL, with keys that begin with ASR_REDIS_PREFIX."""
        self.celery = Celery("asr_service", broker=_for_kombu(url), set_as_current=False)
        self.celery.conf.update(
            task_default_queue=_QUEUE,
            task_acks_late=True,
            task_reject_on_worker_lost=True,
            task_ignore_result=True,
            worker_prefetch_multiplier=1,
            worker_disable_prefetch=True,
            worker_enable_remote_control=False,
            worker_hijack_root_logger=False,
            worker_cancel_long_running_tasks_on_connection_loss=False,
            broker_connection_retry_on_startup=True,
            broker_connection_max_retries=None,
            broker_transport_options={
                "global_keyprefix": f"{prefix}:celery:",
                "visibility_timeout": _DAY_S,
                "socket_timeout": _SOCKET_TIMEOUT_S,
                "socket_connect_timeout": _SOCKET_TIMEOUT_S,
                "max_retries": 1,  # of a service's connection; the notifier tries again
                "interval_start": 0,
            },
        )

    def on_message(self, work: Callable[[], None]) -> None:
        """Call `work` for each message, in a worker."""
        self.celery.task(name=TASK)(work)

    def wake(self, n_waiting: int) -> int:
        """Send messages until there is one for each of `n_waiting` jobs. Returns how many were sent.

        Raises Unavailable: the broker cannot be used.
        """
        try:
            with self.celery.producer_or_acquire() as producer:
                try:
                    return self._send_missing(producer, n_waiting)
                except ReadOnlyError:
                    producer.connection.collapse()  # the server has become a replica, which keeps its connections
                    raise
        except (OperationalError, RedisError) as error:
            raise Unavailable(f"The broker of job workers cannot be used: {error}") from error

    def close(self) -> None:
        self.celery.close()

    def _send_missing(self, producer: Any, n_waiting: int) -> int:
        n_missing = max(n_waiting - self._n_messages(producer.channel), 0)
        for _ in range(n_missing):
            self.celery.send_task(TASK, producer=producer, retry=False)
        return n_missing

    def _n_messages(self, channel: Any) -> int:
        """Return how many messages wait for a worker."""
        return int(channel.queue_declare(queue=_QUEUE).message_count)


def _for_kombu(url: str) -> str:
    """Return the address of a Redis in the form that Celery's library for messages has."""
    if url.startswith("unix://"):
        return url.replace("unix://", "redis+socket://", 1).replace("?db=", "?virtual_host=", 1)
    if url.startswith("rediss://") and "ssl_cert_reqs=" not in url:  # by default it accepts every certificate
        return f"{url}{'&' if '?' in url else '?'}ssl_cert_reqs=required"
    return url
