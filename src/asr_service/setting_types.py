"""The types of settings that have a form of their own, and the values that stand for something else."""

import ipaddress
import re
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr

from asr_service.redis_client import check_redis_url

ROOT_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)+")
"""The paths under which a proxy may publish the service."""
DEFAULT_MODEL_ALIASES = (
    "whisper-1",
    "gpt-transcribe",
    "gpt-4o-transcribe",
    "gpt-4o-mini-transcribe",
    "gpt-4o-mini-transcribe-2025-12-15",
    "gpt-4o-transcribe-diarize",
    "gpt-live-transcribe",
    "gpt-realtime-whisper",
)
"""OpenAI's names, of which every client has one as its default. Each stands for the loaded model."""
ANY_ALIAS, NO_ALIASES = "*", "none"
"""Values of ASR_MODEL_ALIASES that are no names."""
NO_NETWORK = "none"
"""The value of a setting with networks that has no network."""
CACHE_IN_MEMORY = "memory"
"""The value of ASR_CACHE_URL for a cache in the memory of each slot."""
_ENDPOINT = re.compile(r"https?://[^\s/,]+(/[^\s,]*)?|unix:/[^\s,]+")
_ORIGIN = re.compile(r"https?://([a-z0-9.-]+|\[[0-9a-f:.]+\])(:[0-9]{1,5})?")


def _check_origins(given: str) -> str:
    for origin in given.split(","):
        if origin.strip() != "*" and not _ORIGIN.fullmatch(origin.strip()):
            raise ValueError(f"{origin.strip()!r} is not an origin such as https://app.example.com in lower case, or *")
    return given


def _check_root_path(given: str) -> str:
    if not ROOT_PATH.fullmatch(given):
        raise ValueError("expected a path such as /asr, without a slash at its end")
    return given


def _check_networks(given: str) -> str:
    if given.strip() == NO_NETWORK:
        return given
    for network in given.split(","):
        try:
            ipaddress.ip_network(network.strip())
        except ValueError:
            raise ValueError(f"{network.strip()!r} is not an address or network such as 10.0.0.0/8") from None
    return given


def _check_endpoints(given: str) -> str:
    for address in given.split(","):
        if not _ENDPOINT.fullmatch(address.strip()) or not _has_port(address.strip()):
            raise ValueError(f"{address.strip()!r} is neither a URL such as https://asr.example.com nor unix:/PATH")
    return given


def _has_port(url: str) -> bool:
    """Return whether the port is one, if the URL has a port."""
    try:
        return urlsplit(url).port != 0
    except ValueError:
        return False


def _check_cache_url(given: SecretStr) -> SecretStr:
    url = given.get_secret_value()
    if "://" in url:
        check_redis_url(url)
    elif url != CACHE_IN_MEMORY and "/" not in url:
        raise ValueError(
            f"expected {CACHE_IN_MEMORY}, a directory such as /var/lib/asr-service/results, or redis://HOST"
        )
    return given


def _check_redis(given: SecretStr) -> SecretStr:
    check_redis_url(given.get_secret_value())
    return given


def _check_files(given: str) -> str:
    scheme, separator, place = given.partition("://")
    if separator and (scheme not in {"s3", "gs", "az"} or not place.strip("/")):
        raise ValueError("expected a directory, or a URL such as s3://bucket/prefix, gs://... or az://...")
    return given


Fraction = Annotated[float, Field(ge=0, le=1)]
PositiveInt = Annotated[int, Field(ge=1)]
PositiveSeconds = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Origins = Annotated[str, AfterValidator(_check_origins)]
RootPath = Annotated[str, AfterValidator(_check_root_path)]
Networks = Annotated[str, AfterValidator(_check_networks)]
Endpoints = Annotated[str, AfterValidator(_check_endpoints)]
CacheUrl = Annotated[SecretStr, AfterValidator(_check_cache_url)]
RedisUrl = Annotated[SecretStr, AfterValidator(_check_redis)]
FilesPlace = Annotated[str, AfterValidator(_check_files)]
