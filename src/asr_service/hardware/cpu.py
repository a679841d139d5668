"""CPU features that the libraries should use."""

from collections.abc import MutableMapping
from pathlib import Path


def widen_vectors(environ: MutableMapping[str, str], flags: frozenset[str]) -> None:
    """Let CTranslate2's own kernels use AVX-512, a tenth faster for Whisper, where that does not slow the clock.

    By itself it takes AVX2. Processors with VNNI (2019 and later) keep their clock; what the operator set stands.
    https://opennmt.net/CTranslate2/environment_variables.html
    """
    if {"avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_vnni"} <= flags:
        environ.setdefault("CT2_FORCE_CPU_ISA", "AVX512")


def cpu_flags() -> frozenset[str]:
    """What this processor can do, as Linux names it; nothing elsewhere."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return frozenset()
    return frozenset(next((line.split(":", 1)[1] for line in lines if line.startswith("flags")), "").split())
