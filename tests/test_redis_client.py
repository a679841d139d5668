"""The URLs of Redis in settings."""

import pytest
from redis.connection import URL_QUERY_ARGUMENT_PARSERS

from asr_service.errors import ConfigurationError
from asr_service.redis_client import check_redis_url
from asr_service.settings import load_settings


@pytest.mark.parametrize(
    "url",
    [
        "redis://",
        "http://host",
        "redis://host:port",
        "unix://",
        "host:6379",
        "redis://host/1_0",
        "redis://host/\u0661",
        "redis://host/jobs",
        "redis://host/0/1",
        "rediss://host/%31",
    ],
)
def test_a_url_without_a_server_or_with_an_unclear_database_is_refused(url: str) -> None:
    """The message has an example, and no password."""
    with pytest.raises(ConfigurationError, match="redis://user:password@host") as refused:
        load_settings({"ASR_JOBS_URL": url.replace("://", "://me:hunter2@", 1)})
    assert "hunter2" not in refused.value.message


@pytest.mark.parametrize("name", [name for name, read in URL_QUERY_ARGUMENT_PARSERS.items() if read in {int, float}])
def test_an_option_of_the_url_is_a_number_in_plain_digits(name: str) -> None:
    """redis-py would read `1_0` as 10."""
    check_redis_url(f"unix:///run/redis.sock?{name}=10")
    with pytest.raises(ValueError, match=f"the option {name} "):
        check_redis_url(f"unix:///run/redis.sock?{name}=1_0")


@pytest.mark.parametrize("url", ["redis://host", "redis://host/", "rediss://me:x@host:6380/15", "redis://host?db=3"])
def test_a_url_with_a_plain_database_is_accepted(url: str) -> None:
    check_redis_url(url)
