"""Records in one SQLite file, which all processes of a machine share."""

from asr_service.jobs.stores.sqlite.store import SqliteJobStore

__all__ = ["SqliteJobStore"]
