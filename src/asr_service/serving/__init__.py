"""The processes: Gunicorn's master, one Uvicorn worker a slot, and how they start, drain and are replaced."""

from asr_service.lifecycle import Die
from asr_service.serving.plan import AppFactory, Plan, SlotApp
from asr_service.serving.server import serve
from asr_service.serving.timeouts import Timeouts, Tuning

__all__ = ["AppFactory", "Die", "Plan", "SlotApp", "Timeouts", "Tuning", "serve"]
