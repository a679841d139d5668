"""Records in Redis, which all machines share."""

from asr_service.jobs.stores.redis.store import RedisJobStore

__all__ = ["RedisJobStore"]
