"""`doctor`'s checks of the model, the language and the decoder, and the trial run."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from asr_service.audio import SAMPLE_RATE
from asr_service.audio.synthetic import synthetic_sound
from asr_service.cli.doctor.findings import Finding, failure, gigabytes, ok, warning
from asr_service.cli.doctor.gpu import NEED_LESS_MEMORY
from asr_service.decoder.pool import DecodeLimits, DecoderPool
from asr_service.decoder.protocol import RESTRICTIONS
from asr_service.errors import AsrError, InvalidParameter, ModelUnavailable, StartupError
from asr_service.extras import install_command
from asr_service.hardware.devices import Device
from asr_service.hardware.environment import engine_environment
from asr_service.hardware.nvml import Gpu
from asr_service.languages import DETECT, chosen_language
from asr_service.models.packaged import packaged_parts
from asr_service.models.registry import MODELS, ModelSpec
from asr_service.models.resolution import Model, is_offline, model_name, model_on_disk, resolve_model, verify_model
from asr_service.models.store import ModelStore
from asr_service.settings import Settings

_SPEECH_S: Final = 2.0
_GRACE_S: Final = 60.0
_MULTILINGUAL_TOKENS: Final = 51_865
"""Multilingual Whisper vocabularies have at least so many tokens; English-only ones have one fewer."""


def check_models(settings: Settings, devices: Sequence[Device]) -> tuple[dict[Device, Model], list[Finding]]:
    """Return the model of each device, with findings about its files. Every byte is read."""
    models: dict[Device, Model] = {}
    found: list[Finding] = []
    for device, n_slots in Counter(devices).items():
        try:
            models[device] = resolve_model(settings, device, n_slots)
        except StartupError as error:
            found.append(failure("model", error.message, "set ASR_MODEL to a name of `asr-service models list`"))
            models[device] = MODELS["base"]
    if found:
        return models, found
    found = [_small_choice(device) for device, model in models.items() if _is_small_choice(settings, device, model)]
    return models, [*found, *(_check_files(settings, model) for model in dict.fromkeys(models.values()))]


def are_on_disk(settings: Settings, models: Iterable[Model]) -> bool:
    """Return whether every model is on the disk, so that a trial run downloads nothing."""
    return all(isinstance(model, Path) or model_on_disk(settings, model) is not None for model in models)


def check_language(settings: Settings, models: Mapping[Device, Model]) -> list[Finding]:
    """Check ASR_LANGUAGE: a recording in another language gives a wrong text, not an error."""
    try:
        language = chosen_language(settings.language or DETECT)
    except InvalidParameter as error:
        return [failure("language", f"ASR_LANGUAGE: {error.message}", "set it to a code such as en, or unset it")]
    if language is None:
        return [ok("language", "detected in each recording")]
    english = [model_name(model) for model in models.values() if not _is_multilingual(model)]
    if english and language != "en":
        message = f"ASR_LANGUAGE={settings.language}, but {english[0]} supports only English"
        return [failure("language", message, "set ASR_MODEL to a multilingual model, or unset ASR_LANGUAGE")]
    message = f"ASR_LANGUAGE={settings.language} applies to every recording; unset it if texts are garbled"
    return [ok("language", message)]


def check_model_disk(settings: Settings, models: Mapping[Device, Model]) -> list[Finding]:
    """Check that there is room for models that are still to be downloaded."""
    store = ModelStore.of(settings)
    absent = [model for model in set(models.values()) if isinstance(model, ModelSpec) and not store.candidates(model)]
    need_bytes = sum(spec.size_bytes for spec in absent)
    nearest = next(path for path in (store.own, *store.own.absolute().parents) if path.exists())
    free_bytes = shutil.disk_usage(nearest).free
    message = f"{store.own} has {gigabytes(free_bytes)} free for models"
    if free_bytes < need_bytes:
        fix = "free disk space, or set ASR_MODEL_DIR to a folder on a larger disk"
        return [failure("model disk", f"{message}, but {gigabytes(need_bytes)} must be downloaded", fix)]
    return [ok("model disk", message)]


def check_decoder(settings: Settings) -> list[Finding]:
    """Check that a decoder process decodes a FLAC file."""
    began = time.monotonic()
    fix = "`pip install --force-reinstall av soundfile`; a larger ASR_DECODER_MEMORY_BYTES if memory is short"
    try:
        n_samples, restrictions = asyncio.run(_decode(settings))
    except (AsrError, OSError) as error:
        return [failure("decoder", f"a FLAC file cannot be decoded: {error}", fix)]
    if n_samples != int(_SPEECH_S * SAMPLE_RATE):
        return [failure("decoder", f"two seconds were decoded to {n_samples} samples", fix)]
    works = ok("decoder", f"a decoder process started and decoded a FLAC file in {time.monotonic() - began:.1f} s")
    return [works, *(_sandbox_finding(settings, name, holds) for name, holds in restrictions.items())]


def _sandbox_finding(settings: Settings, name: str, holds: bool) -> Finding:
    if holds:
        return ok("sandbox", f"{name}: a decoder process {RESTRICTIONS[name]}")
    message = f"{name}: the kernel does not ensure that a decoder process {RESTRICTIONS[name]}"
    fix = "run where seccomp and resource limits work; ASR_DECODER_SANDBOX=require refuses to start without them"
    return (failure if settings.decoder_sandbox == "require" else warning)("sandbox", message, fix)


def check_run(settings: Settings, models: Mapping[Device, Model], gpus: Sequence[Gpu]) -> list[Finding]:
    """Load the model on each device and transcribe two seconds, each in a process of its own."""
    return [_trial_finding(settings, device, model, gpus) for device, model in models.items()]


def write_sound(path: Path) -> None:
    """Write two seconds of noise as FLAC. Raises OSError: libsndfile is missing, or the file cannot be written."""
    import soundfile  # noqa: PLC0415 - importing it is a part of the trial: it opens libsndfile

    try:
        soundfile.write(path, synthetic_sound(_SPEECH_S), SAMPLE_RATE, format="FLAC")
    except soundfile.SoundFileError as error:
        raise OSError(f"{path} cannot be written: {error}") from error


def _is_small_choice(settings: Settings, device: Device, model: Model) -> bool:
    return settings.model == "auto" and device.kind == "cuda" and model == MODELS["base"]


def _small_choice(device: Device) -> Finding:
    message = f"{device} has too little memory for large-v3, so ASR_MODEL=auto selects base"
    return warning("model", message, "set ASR_MODEL to a model between them, such as large-v3-turbo")


def _check_files(settings: Settings, model: Model) -> Finding:
    try:
        return ok("model", f"{model_name(model)} in {verify_model(settings, model)} is complete")
    except ModelUnavailable as error:
        if isinstance(model, Path):
            return failure("model", error.message, "set ASR_MODEL to a folder with a complete model, or to a name")
        return _missing_model(settings, model, error.message)


def _missing_model(settings: Settings, spec: ModelSpec, why: str) -> Finding:
    fetch = f"`asr-service models fetch {spec.name}`"
    packaged = spec.name == "base" and packaged_parts() is not None
    if ModelStore.of(settings).candidates(spec):
        return failure("model", why, f"{fetch}, which replaces damaged files")
    if packaged:
        return ok("model", f"{spec.name} is not on the disk; the first start joins it from the installed packages")
    if is_offline(settings):
        fix = f"on a machine with a network, run {fetch} with ASR_MODEL_DIR set, and copy that folder here"
        return failure("model", f"{spec.name} is not on the disk, and downloads are off", fix)
    message = f"{spec.name} is not on the disk; the first start has to download {gigabytes(spec.size_bytes)}"
    return warning("model", message, f"run {fetch} now")


def _is_multilingual(model: Model) -> bool:
    if isinstance(model, ModelSpec):
        return model.multilingual
    listed, lines = model / "vocabulary.json", model / "vocabulary.txt"
    if listed.exists():
        return len(json.loads(listed.read_bytes())) >= _MULTILINGUAL_TOKENS
    return lines.read_bytes().count(b"\n") >= _MULTILINGUAL_TOKENS


async def _decode(settings: Settings) -> tuple[int, dict[str, bool]]:
    pool = DecoderPool(DecodeLimits(max_audio_s=60, memory_bytes=settings.decoder_memory_bytes))
    await pool.start()
    try:
        with tempfile.NamedTemporaryFile(suffix=".flac") as file:
            write_sound(Path(file.name))
            async with pool.decode(file.fileno()) as audio:
                return len(await audio.read(2 * int(_SPEECH_S * SAMPLE_RATE))), pool.restrictions
    finally:
        await pool.close()


def _trial_finding(settings: Settings, device: Device, model: Model, gpus: Sequence[Gpu]) -> Finding:
    result, error = _run_trial(settings, device, model, gpus)
    if result is None:
        return failure("trial run", f"{device}: {error}", _fix_for(error))
    load_s, spent_s = result["load_s"], result["transcribe_s"]
    message = f"{device}: {result['model']} ready in {load_s:.1f} s, two seconds transcribed in {spent_s:.2f} s"
    if spent_s > _SPEECH_S:
        return warning("trial run", message, "slower than real time: set ASR_MODEL to a smaller model, or use a GPU")
    return ok("trial run", message)


def _run_trial(
    settings: Settings, device: Device, model: Model, gpus: Sequence[Gpu]
) -> tuple[dict[str, Any] | None, str]:
    command = [sys.executable, "-m", "asr_service.cli.doctor.trial", str(device)]
    chosen = {"ASR_MODEL": str(model.absolute() if isinstance(model, Path) else model.name)}
    environment = os.environ | engine_environment(device, gpus) | chosen
    limit_s = settings.model_load_timeout_s + _GRACE_S
    try:
        done = subprocess.run(  # noqa: S603
            command, env=environment, capture_output=True, text=True, timeout=limit_s, check=False
        )
    except subprocess.TimeoutExpired:
        return None, f"the model did not load and transcribe within {limit_s:.0f} s"
    if done.returncode < 0:
        return None, f"signal {-done.returncode} ended the process while it loaded the model or transcribed"
    try:
        result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        return None, (done.stderr.strip().splitlines() or [f"the trial run ended with exit code {done.returncode}"])[-1]
    return (None, result["error"]) if "error" in result else (result, "")


def _fix_for(error: str) -> str:
    """Return the fix for a known error."""
    text = error.lower()
    if "memory" in text or "signal 9" in text or "alloc" in text:
        return NEED_LESS_MEMORY
    if "libcu" in text or "library" in text:
        return f"`{install_command('cuda')}`, or put the folder of libcublas.so.12 on LD_LIBRARY_PATH"
    return "run `asr-service models verify` to check the files; try ASR_DEVICES=cpu to see whether the GPU is the cause"
