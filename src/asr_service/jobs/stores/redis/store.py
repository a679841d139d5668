"""The store of jobs for several machines."""

from typing import ClassVar

from asr_service.jobs.stores.redis.callers import CallerOperations
from asr_service.jobs.stores.redis.deliveries import DeliveryOperations
from asr_service.jobs.stores.redis.runners import RunnerOperations
from asr_service.jobs.stores.redis.sweeping import SweeperOperations


class RedisJobStore(CallerOperations, RunnerOperations, DeliveryOperations, SweeperOperations):
    """Implements `JobStore` in a Redis that several services and workers share."""

    is_shared: ClassVar[bool] = True
