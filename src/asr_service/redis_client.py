"""Opens clients of Redis from the URLs of settings, and translates their errors."""

import contextlib
import re
from collections.abc import Iterator
from functools import cache
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import SplitResult, parse_qsl, urlsplit

from asr_service.errors import ConfigurationError, Unavailable
from asr_service.extras import install_command
from asr_service.plain_number import is_plain_number

if TYPE_CHECKING:
    import redis

_TCP_SCHEMES: Final = ("redis", "rediss")
_CONNECT_TIMEOUT_S: Final = 2.0
_DATABASE: Final = re.compile(r"/?|/[0-9]+")
_NUMERIC_OPTIONS: Final = frozenset(
    {
        "db",
        "health_check_interval",
        "max_connections",
        "protocol",
        "socket_connect_timeout",
        "socket_read_size",
        "socket_timeout",
        "ssl_min_version",
        "timeout",
    }
)
"""The options of a URL that redis-py reads as numbers."""


def check_redis_url(url: str) -> None:
    """Raise ValueError, without the URL's password, if the URL does not lead to a Redis."""
    try:
        parts = urlsplit(url)
        is_valid = _has_place(parts)
    except ValueError:  # a port that is no number
        is_valid = False
    if not is_valid:
        raise ValueError(
            "expected a URL such as redis://user:password@host:6379/0, rediss://host:6379/0 or unix:///path/redis.sock"
        )
    for name, value in parse_qsl(parts.query):
        if name in _NUMERIC_OPTIONS and not is_plain_number(value):
            raise ValueError(f"expected a number as the option {name} of the URL")


def _has_place(parts: SplitResult) -> bool:
    """Return whether the URL names a server or a socket. Raises ValueError: the port is no number.

    redis-py would take the database 10 for the path `/1_0`, and the database 0 for a path that is no number.
    """
    if parts.scheme == "unix":
        return bool(parts.path)
    has_host = bool(parts.hostname and parts.port != 0)
    return parts.scheme in _TCP_SCHEMES and has_host and _DATABASE.fullmatch(parts.path) is not None


def open_redis(url: str, *, setting: str, timeout_s: float, text: bool) -> "redis.Redis":
    """Return a client, which threads may share. It connects when it is first used.

    `setting` is the variable that has the URL, and `timeout_s` the maximum time of a command. `text` makes replies
    str instead of bytes. A failed command is not repeated, because it may have had its effect.

    Raises ConfigurationError: the packages are not installed, or the URL has an invalid option.
    """
    try:
        import redis  # noqa: PLC0415  # an optional dependency
        from redis.backoff import NoBackoff  # noqa: PLC0415
        from redis.retry import Retry  # noqa: PLC0415
    except ImportError as error:
        raise ConfigurationError(
            f"{setting} needs further packages: {install_command('cluster')}", param=setting
        ) from error
    try:
        client = _client_class().from_url(
            url,
            decode_responses=text,
            encoding_errors="replace",  # damaged text is damage of one record
            protocol=2,  # the same shapes of replies in all versions of redis-py
            socket_timeout=timeout_s,
            socket_connect_timeout=min(timeout_s, _CONNECT_TIMEOUT_S),
            retry=Retry(NoBackoff(), 0),
        )
        client.connection_pool.make_connection()  # checks the options of the URL; it does not connect
    except (TypeError, ValueError, redis.RedisError) as error:
        raise ConfigurationError(f"{setting} is not valid: {error}.", param=setting) from error
    return client


@cache
def _client_class() -> "type[redis.Redis]":
    import redis  # noqa: PLC0415  # an optional dependency

    class FollowingClient(redis.Redis):
        """Leaves a server that has become a replica: the next command connects to the server that the name has now.

        Such a server keeps its connections, and refuses every change.
        """

        def execute_command(self, *args: Any, **options: Any) -> Any:
            try:
                return super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
            except redis.ReadOnlyError:
                self.connection_pool.disconnect(inuse_connections=False)
                raise

    return FollowingClient


@contextlib.contextmanager
def redis_errors_as_unavailable(message: str) -> Iterator[None]:
    """Raise Unavailable with this message instead of an error of Redis, which is its cause."""
    import redis  # noqa: PLC0415  # an optional dependency

    try:
        yield
    except redis.RedisError as error:
        raise Unavailable(message) from error


def is_answer_lost(error: Unavailable) -> bool:
    """Return True if Redis may have run the command, or may run it later, although it did not answer."""
    import redis  # noqa: PLC0415  # an optional dependency

    return isinstance(error.__cause__, redis.ConnectionError | redis.TimeoutError)
