"""Words the warnings about what a recording has lost."""

from asr_service.decoder.protocol import RecordingWarning


def late_start(late_s: float) -> RecordingWarning:
    text = f"The audio starts {_seconds(late_s)} after the beginning of the file."
    return RecordingWarning("late_start", text, {"late_s": _rounded(late_s)})


def no_audio(n_pauses: int, absent_s: float, first: tuple[float, float]) -> RecordingWarning:
    """Warn of pauses. `first` is the place of the first one."""
    start_s, end_s = (round(place_s, 1) for place_s in first)
    places = f"{start_s:.1f} s to {end_s:.1f} s"
    text = f"The file has no audio from {places}."
    if n_pauses > 1:
        text = f"The file has no audio in {n_pauses} places, {_seconds(absent_s)} in all, the first from {places}."
    values = {"count": n_pauses, "absent_s": _rounded(absent_s), "start_s": start_s, "end_s": end_s}
    return RecordingWarning("no_audio", text, values)


def audio_lost(lost_s: float, damaged_at_s: list[float]) -> RecordingWarning:
    """Warn of audio that could not be decoded. `damaged_at_s` has the known places."""
    text, values = f"{_seconds(lost_s)} of audio could not be decoded", {"lost_s": _rounded(lost_s)}
    if not damaged_at_s:
        return RecordingWarning("audio_lost", f"{text}.", values)
    n, at_s = len(damaged_at_s), round(damaged_at_s[0], 1)
    places = f"damaged at {at_s:.1f} s" if n == 1 else f"damaged in {n} places, the first at {at_s:.1f} s"
    return RecordingWarning("audio_damaged", f"{text} ({places}).", values | {"count": n, "at_s": at_s})


def ends_early(present_s: float, declared_s: float) -> RecordingWarning:
    text = f"The file ends early: its header declares {_seconds(declared_s)}, {_seconds(present_s)} are present."
    return RecordingWarning("ends_early", text, {"present_s": _rounded(present_s), "declared_s": _rounded(declared_s)})


def ends_in_packet(present_s: float) -> RecordingWarning:
    text = f"The file ends early, in the middle of a packet: {_seconds(present_s)} are present."
    return RecordingWarning("ends_in_packet", text, {"present_s": _rounded(present_s)})


def blank_rest(present_s: float) -> RecordingWarning:
    text = f"After {_seconds(present_s)} of audio the rest of the file is blank, as in an unfinished download."
    return RecordingWarning("blank_rest", text, {"present_s": _rounded(present_s)})


def longer_than_declared(declared_s: float, present_s: float) -> RecordingWarning:
    found = f"but it has {_seconds(present_s)}. All of it was decoded."
    text = f"The header of the file declares {_seconds(declared_s)} of audio, {found}"
    values = {"declared_s": _rounded(declared_s), "present_s": _rounded(present_s)}
    return RecordingWarning("longer_than_declared", text, values)


def _seconds(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds < 1 else f"{seconds:.1f} s"


def _rounded(seconds: float) -> float:
    """Return seconds as exact as `_seconds` shows them."""
    return round(seconds, 2 if seconds < 1 else 1)
