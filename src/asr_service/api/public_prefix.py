"""The path under which clients reach the service."""

from starlette.requests import Request

from asr_service.engine.slot import SlotEngine
from asr_service.setting_types import ROOT_PATH


def public_prefix(request: Request) -> str:
    """Return the path under which a proxy publishes the service; empty if there is none, or it is not known."""
    engine: SlotEngine = request.app.state.engine
    forwarded = request.headers.get("x-forwarded-prefix", "").rstrip("/")
    return engine.settings.root_path or (forwarded if ROOT_PATH.fullmatch(forwarded) else "")
