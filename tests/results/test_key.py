"""Everything that a transcript depends on is part of its key."""

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from asr_service.decoder.pool import DecodeLimits, DecoderPool
from asr_service.engine.build import build_engine
from asr_service.engine.fingerprint import EngineFingerprint, code_fingerprint, engine_fingerprint
from asr_service.engine.options import DecodingOptions
from asr_service.hardware.devices import Device
from asr_service.models.fingerprint import fingerprint
from asr_service.results.key import result_key
from asr_service.settings import Settings, load_settings
from fakes import FakeModel

OPTIONS = DecodingOptions()
SLOT = engine_fingerprint(load_settings({}), FakeModel().facts)
CHANGED: dict[type, Any] = {
    bool: lambda given: not given,
    int: lambda given: given + 1,
    float: lambda given: given + 0.5,
    str: lambda given: given + "x",
    tuple: lambda given: (*given, "en"),
    type(None): lambda _: "x",
}


def changes(given: Any) -> list[Any]:
    """Return copies of a dataclass of which each has another value in one field, also within nested ones."""
    found = []
    for field in fields(given):
        value = getattr(given, field.name)
        others = changes(value) if hasattr(value, "__dataclass_fields__") else [CHANGED[type(value)](value)]
        found += [replace(given, **{field.name: other}) for other in others]
    return found


def key(
    recording: str = "00", options: DecodingOptions = OPTIONS, slot: EngineFingerprint = SLOT, owner: Any = "a"
) -> str:
    return result_key(recording, options, slot, owner)


def test_every_option_changes_the_key():
    """An option that is added later does too. Equal values give an equal key."""
    keys = {key(options=options) for options in changes(OPTIONS)}
    assert len(keys) == len(changes(OPTIONS)) >= len(fields(OPTIONS)) + 1
    assert key() not in keys
    assert key() == key(options=DecodingOptions())


def test_recording_model_and_owner_change_the_key():
    """No API key is not an API key without a name."""
    keys = [key(), key("01"), key(owner="b"), key(owner=""), key(owner=None)]
    keys += [key(slot=slot) for slot in changes(SLOT)]
    assert len(set(keys)) == len(keys)


def test_every_setting_that_the_engine_is_built_with_is_known(monkeypatch: pytest.MonkeyPatch):
    """A setting that the engine reads either is part of the fingerprint, or changes no transcript."""
    read: set[str] = set()

    class Watched(Settings):
        def __getattribute__(self, name: str) -> Any:
            if name in Settings.model_fields:
                read.add(name)
            return super().__getattribute__(name)

    settings, facts = Watched(), FakeModel().facts
    engine_fingerprint(settings, facts)
    decide = set(read)
    assert decide == {"encoder_context", "encoder_margin_s", "chunk_length_s", "block_length_s"}
    read.clear()
    decoders = DecoderPool(DecodeLimits(max_audio_s=1, memory_bytes=1), max_parallel=1, require_sandbox=False)
    build_engine(settings, FakeModel(), decoders, None, lambda _: None)  # type: ignore[arg-type]
    assert read - decide == {"encode_batch", "decode_batch", "request_timeout_s"}


def test_the_fingerprint_follows_each_setting_of_the_engine():
    facts = FakeModel().facts
    given: list[dict[str, Any]] = [
        {},
        {"encoder_margin_s": 5},
        {"encoder_context": "full"},
        {"chunk_length_s": 20},
        {"block_length_s": 60},
    ]
    slots = {engine_fingerprint(load_settings({}, **each), facts) for each in given}
    slots.add(engine_fingerprint(load_settings({}), replace(facts, revision="2")))
    slots.add(engine_fingerprint(load_settings({}), replace(facts, device=Device("cuda", 0))))
    assert len(slots) == len(given) + 2


def test_the_fingerprint_follows_the_code(tmp_path: Path):
    """A changed constant is another version, whatever the release. A byte-code file is not."""
    (tmp_path / "engine").mkdir()
    source = tmp_path / "engine" / "words.py"
    source.write_text("LIMIT = 1")
    first = code_fingerprint([tmp_path], ["numpy"])
    (tmp_path / "engine" / "words.pyc").write_bytes(b"x")
    assert code_fingerprint([tmp_path], ["numpy"]) == first
    source.write_text("LIMIT = 2")
    assert len({first, code_fingerprint([tmp_path], ["numpy"]), code_fingerprint([tmp_path], ["numpy", "av"])}) == 3
    assert SLOT.code == engine_fingerprint(load_settings({}), FakeModel().facts).code


def test_a_models_fingerprint_follows_the_content_of_its_files(tmp_path: Path):
    """Not their names' order, their times or other files in the folder."""

    def folder(name: str, **files: bytes) -> Path:
        made = tmp_path / name
        made.mkdir()
        for file, content in files.items():
            (made / file.replace("_", ".")).write_bytes(content)
        return made

    weights = bytes(1_000_000)
    base = fingerprint(folder("a", model_bin=weights, config_json=b"{}"))
    assert base == fingerprint(folder("b", config_json=b"{}", model_bin=weights, README_md=b"x"))
    others = [
        fingerprint(folder("c", model_bin=weights + b"\0", config_json=b"{}")),
        fingerprint(folder("d", model_bin=b"\1" * 1_000_000, config_json=b"{}")),
        fingerprint(folder("e", model_bin=weights[:-1] + b"\1", config_json=b"{}")),
        fingerprint(folder("f", model_bin=weights, config_json=b"{ }")),
        fingerprint(folder("g", model_bin=weights)),
    ]
    assert len({base, *others}) == 6
