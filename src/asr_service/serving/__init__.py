"""The processes: Gunicorn's master and one Uvicorn worker for each slot; how they start, drain and are replaced."""

from asr_service.lifecycle import Die
from asr_service.serving.limits import ServerLimits, Timeouts
from asr_service.serving.plan import AppFactory, ServePlan, SlotApp
from asr_service.serving.server import serve

__all__ = ["AppFactory", "Die", "ServePlan", "ServerLimits", "SlotApp", "Timeouts", "serve"]
