"""`asr-service doctor` tries the cache of results."""

import pytest

from asr_service.cli.doctor.cache import check_cache
from asr_service.settings import Settings
from redis_server import running_redis


@pytest.mark.parametrize(
    ("url", "levels"), [(None, []), ("memory", ["ok"]), ("store/", ["ok"]), ("/proc/none", ["failure"])]
)
def test_a_cache_is_tried(url, levels, tmp_path, monkeypatch):
    """A directory that cannot be created is a failure, with the name of the setting."""
    monkeypatch.chdir(tmp_path)
    found = check_cache(Settings(cache_url=url))
    assert [each.level for each in found] == levels
    assert all("ASR_CACHE_URL" in str(each.fix) for each in found if each.level != "ok")


def test_a_redis_that_is_down_or_may_fill_the_memory_is_a_warning(tmp_path):
    """Requests do not fail because of it."""
    with running_redis(tmp_path / "r") as redis:
        settings = Settings(cache_url=redis.url)
        assert "no maxmemory" in check_cache(settings)[0].message
        with redis.client() as client:
            client.config_set("maxmemory", "64mb")
            assert "noeviction" in check_cache(settings)[0].message
            client.config_set("maxmemory-policy", "allkeys-lfu")
            assert [each.level for each in check_cache(settings)] == ["ok"]
    assert ["fails" in each.message for each in check_cache(settings)] == [True]
