"""`asr-service tune` as its user runs it, and the file it writes."""

from asr_service.cli.tune import _values, _write
from asr_service.engine.schedule.batch import BatchLimit
from asr_service.engine.tuning.choice import Measured, Sizes
from asr_service.engine.tuning.measure import Tuning
from cli.terminal import run

DEFAULT = Sizes(2, BatchLimit(1), BatchLimit(4, n_frames=3400))


def test_the_files_other_lines_stay(tmp_path):
    """Comments, keys and order; what an earlier run wrote goes, and a file with secrets keeps its mode."""
    env = tmp_path / ".env"
    env.write_text("# mine\nASR_MODEL=base\nASR_DECODE_BATCH=9\nexport ASR_API_KEYS='a:sha256:0'\n")
    env.chmod(0o600)
    _write(env, {"ASR_MODEL_THREADS": 4, "ASR_ENCODE_BATCH": 2}, ["first", "decode: 1.00 windows/s"])
    _write(env, {"ASR_MODEL_THREADS": 8, "ASR_ENCODE_BATCH": 1}, ["second"])
    lines = env.read_text().splitlines()
    assert lines[:3] == ["# mine", "ASR_MODEL=base", "export ASR_API_KEYS='a:sha256:0'"]
    assert lines[3].startswith("# tune: ")
    assert lines[3].endswith(", second")
    assert lines[4:] == ["ASR_MODEL_THREADS=8", "ASR_ENCODE_BATCH=1"]
    assert env.stat().st_mode & 0o777 == 0o600


def test_a_file_that_cannot_be_written_is_told_before_the_measuring(tmp_path):
    """Which takes minutes: neither a model is looked for nor anything measured."""
    told = run("tune", "--write", str(tmp_path / "none" / ".env"), cwd=tmp_path)
    assert (told.returncode, told.stdout) == (78, "")
    assert "none/.env cannot be written" in told.stderr


def test_a_gain_within_five_percent_sets_nothing():
    """Machines scatter as much."""
    chosen = Sizes(2, BatchLimit(2), BatchLimit(2))
    assert _values(Tuning(DEFAULT, chosen, 1.04, (), Measured(()))) == {}
    assert _values(Tuning(DEFAULT, chosen, 1.06, (), Measured(()))) == {
        "ASR_MODEL_THREADS": 2,
        "ASR_ENCODE_BATCH": 2,
        "ASR_DECODE_BATCH": 2,
    }


def test_a_default_that_no_number_says_is_left_unset():
    """The default decodes fewer of long windows at once; ASR_DECODE_BATCH=4 would not."""
    chosen = Sizes(4, BatchLimit(1), DEFAULT.decode)
    assert _values(Tuning(DEFAULT, chosen, 1.5, (), Measured(()))) == {"ASR_MODEL_THREADS": 4, "ASR_ENCODE_BATCH": 1}
