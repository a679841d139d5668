"""What an engine does by itself on a CPU and on a GPU."""

import pytest

from asr_service.engine.sizing import encoder_margin_s
from asr_service.settings import Settings


@pytest.mark.parametrize(
    ("given", "on_cpu_s", "on_gpu_s"),
    [({}, 2.5, None), ({"encoder_context": "short"}, 2.5, 2.5), ({"encoder_context": "full"}, None, None)],
)
def test_windows_of_a_gpu_are_of_one_length_unless_short_ones_are_asked_for(given, on_cpu_s, on_gpu_s):
    """Only windows of one length share a call there; a CPU is spared the work."""
    settings = Settings(_env_file=None, **given)
    assert encoder_margin_s(settings, on_gpu=False) == on_cpu_s
    assert encoder_margin_s(settings, on_gpu=True) == on_gpu_s
