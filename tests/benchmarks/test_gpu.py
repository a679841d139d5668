"""The GPU benchmark on the CPU with a toy model, and the models with random weights."""

import json
import subprocess
import sys
from pathlib import Path

import ctranslate2
import numpy as np
import pytest
import tokenizers

from asr_service.engine.model.prompt import generate_options
from asr_service.engine.model.vocabulary import Vocabulary
from asr_service.engine.model.whisper import WhisperModel
from asr_service.engine.options import DecodingOptions
from asr_service.hardware.devices import Device
from benchmarks.common.byte_tokenizer import write_byte_tokenizer
from benchmarks.common.random_model import TINY, Shape, write_random_model
from benchmarks.gpu.calls import MAX_LENGTH, N_TOKENS


@pytest.fixture(scope="module")
def tokenizer(base_model_dir: Path) -> Path:
    return base_model_dir / "tokenizer.json"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_benchmark_runs_on_a_cpu(tokenizer: Path, tmp_path: Path) -> None:
    """It measures the model's calls, the service with one and two workers, and faster-whisper. All requests succeed."""
    command = [sys.executable, "-m", "benchmarks.gpu", "--tiny", "--tokenizer", str(tokenizer)]
    subprocess.run([*command, "--out", str(tmp_path / "gpu")], check=True, timeout=280, capture_output=True)
    found = json.loads((tmp_path / "gpu.json").read_text())
    assert [each["n_tokens"] for each in found["calls"]["float32"]["batches"]] == [N_TOKENS, N_TOKENS]
    loads = [*found["service"]["files"], *found["service"]["loads"], *found["model threads"], *found["two workers"]]
    assert loads
    assert all(load["unanswered"] == 0 for load in loads)
    assert found["failed"] == found["not measured"] == {}
    # Otherwise the service's times would be those of other work than the calls'.
    assert found["service"]["windows"] == {"tokens": N_TOKENS, "fallbacks": 0}
    assert found["pipeline"]["segments"] > 0
    page = (tmp_path / "gpu.md").read_text()
    assert "no GPU was used" in page
    assert "A toy model" in page


def test_random_weights_have_the_shape_of_large_v3(tokenizer: Path, tmp_path: Path) -> None:
    """It has large-v3's mel bands and vocabulary, and generates texts that the service does not decode again."""
    folder = write_random_model(Shape(64, 2, 1, 128, cantonese=True), tokenizer, tmp_path / "v3", float16=False)
    model = ctranslate2.models.Whisper(str(folder))
    vocabulary = json.loads((folder / "vocabulary.json").read_text())
    written = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
    assert (model.n_mels, len(vocabulary)) == (128, 51866)
    for token in ("<|yue|>", "<|transcribe|>", "<|notimestamps|>"):
        assert vocabulary[written.token_to_id(token)] == token
    features = ctranslate2.StorageView.from_array(np.zeros((1, 128, 3000), np.float32))
    prompt = ["<|startoftranscript|>", "<|yue|>", "<|transcribe|>"]
    result = model.generate(features, [prompt], beam_size=2, max_length=MAX_LENGTH, return_scores=True)[0]
    assert len(result.sequences_ids[0]) == N_TOKENS
    assert result.scores[0] > -1.0, "the service would decode the window again"


def test_a_model_with_the_byte_tokenizer_generates_tokens_too(tmp_path: Path) -> None:
    """It is meant for machines without any Whisper model. Its special tokens have the ids of Whisper base."""
    path = write_byte_tokenizer(tmp_path / "bytes.json")
    model = WhisperModel(
        write_random_model(TINY, path, tmp_path / "tiny", float16=False),
        name="tiny",
        device=Device("cpu"),
        compute_type="float32",
        threads=1,
    )
    assert model.facts.multilingual
    assert model.tokenizer.token_to_id("<|notimestamps|>") == 50363
    assert model.tokenizer.decode(model.tokenizer.encode("Grüße, 東京!").ids) == "Grüße, 東京!"
    vocabulary = Vocabulary(model.tokenizer, multilingual=True)
    options = DecodingOptions(language="de", max_new_tokens=N_TOKENS)
    prompt = vocabulary.prompt(options, "de")
    encodings = model.encode([np.zeros((80, 3000), np.float32)])
    (generation,) = model.generate(
        encodings, [prompt.tokens], generate_options(options, prompt, 0.0, vocabulary.suppressed)
    )
    assert len(generation.tokens) == N_TOKENS
    assert len(vocabulary.text(generation.tokens)) == N_TOKENS - 1, "one letter per token after the timestamp"
    assert {"de", "ja"} < set(model.detect_languages(encodings)[0])


def test_the_toy_model_is_small(tokenizer: Path, tmp_path: Path) -> None:
    """The benchmark runs on a CPU with a model of a few megabytes."""
    folder = write_random_model(TINY, tokenizer, tmp_path, float16=True)
    assert (folder / "model.bin").stat().st_size < 20e6
