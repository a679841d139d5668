"""`asr-service tune`: its exit codes, the values that it suggests, and the file that it writes."""

from asr_service.cli.tune.file import write_values
from asr_service.cli.tune.values import tuned_values
from asr_service.engine.schedule.batch import BatchLimit
from asr_service.engine.tuning.choice import Measurements, Parallelism
from asr_service.engine.tuning.measure import TuningResult
from cli.terminal import run

DEFAULT = Parallelism(2, BatchLimit(1), BatchLimit(4, n_frames=4096))


def values(chosen: Parallelism, gain: float) -> dict[str, int]:
    return tuned_values(TuningResult(DEFAULT, chosen, gain, (), Measurements(())))


def test_other_lines_of_the_file_stay(tmp_path):
    """Comments, keys and order stay, lines of an earlier run go, and a file with secrets keeps its mode."""
    env = tmp_path / ".env"
    env.write_text("# mine\nASR_MODEL=base\nASR_DECODE_BATCH=9\nexport ASR_API_KEYS='a:sha256:0'\n")
    env.chmod(0o600)
    write_values(env, {"ASR_MODEL_THREADS": 4, "ASR_ENCODE_BATCH": 2}, ["first", "decode: 1.00 windows/s"])
    write_values(env, {"ASR_MODEL_THREADS": 8, "ASR_ENCODE_BATCH": 1}, ["second"])
    lines = env.read_text().splitlines()
    assert lines[:3] == ["# mine", "ASR_MODEL=base", "export ASR_API_KEYS='a:sha256:0'"]
    assert lines[3].startswith("# tune: ")
    assert lines[3].endswith(", second")
    assert lines[4:] == ["ASR_MODEL_THREADS=8", "ASR_ENCODE_BATCH=1"]
    assert env.stat().st_mode & 0o777 == 0o600


def test_a_file_that_cannot_be_written_fails_before_the_measurement(tmp_path):
    """The measurement takes minutes: no model is loaded and nothing is measured."""
    result = run("tune", "--write", str(tmp_path / "none" / ".env"), cwd=tmp_path)
    assert (result.returncode, result.stdout) == (78, "")
    assert "none/.env cannot be written" in result.stderr


def test_a_file_that_is_not_text_fails_before_the_measurement(tmp_path):
    """Its lines could not be kept."""
    (tmp_path / "settings").write_bytes("ASR_PAGE_NAME=Büro".encode("latin-1"))
    result = run("tune", "--write", "settings", cwd=tmp_path)
    assert (result.returncode, result.stdout) == (78, "")
    assert "settings cannot be read: it is not UTF-8." in result.stderr


def test_a_gain_of_less_than_five_percent_sets_nothing():
    """It is within the noise of the measurement."""
    chosen = Parallelism(2, BatchLimit(2), BatchLimit(2))
    assert values(chosen, gain=1.04) == {}
    assert values(chosen, gain=1.06) == {"ASR_MODEL_THREADS": 2, "ASR_ENCODE_BATCH": 2, "ASR_DECODE_BATCH": 2}


def test_a_default_that_depends_on_the_windows_length_is_left_unset():
    """The default decodes fewer long windows at once; ASR_DECODE_BATCH=4 would not."""
    chosen = Parallelism(4, BatchLimit(1), DEFAULT.decode)
    assert values(chosen, gain=1.5) == {"ASR_MODEL_THREADS": 4, "ASR_ENCODE_BATCH": 1}
