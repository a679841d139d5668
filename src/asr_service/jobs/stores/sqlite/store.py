"""The default store of jobs."""

from typing import ClassVar

from asr_service.jobs.stores.sqlite.callers import CallerOperations
from asr_service.jobs.stores.sqlite.deliveries import DeliveryOperations
from asr_service.jobs.stores.sqlite.runners import RunnerOperations
from asr_service.jobs.stores.sqlite.sweeping import SweeperOperations


class SqliteJobStore(CallerOperations, RunnerOperations, DeliveryOperations, SweeperOperations):
    """Implements `JobStore` in one SQLite file."""

    is_shared: ClassVar[bool] = False
