"""CTranslate2's Whisper with encodings in each precision that a GPU returns. The conversions run on a CPU too."""

import ctranslate2
import numpy as np
import pytest
import soundfile

from asr_service.audio.features import LogMel
from asr_service.engine.model.prompt import generate_options
from asr_service.engine.model.vocabulary import Vocabulary
from asr_service.engine.model.whisper import WhisperModel, to_array
from asr_service.engine.options import DecodingOptions
from asr_service.hardware.devices import Device
from speech import RECORDINGS


@pytest.mark.parametrize(
    ("precision", "dtype"), [("float16", "float16"), ("bfloat16", "float32"), ("float32", "float32")]
)
def test_an_encoding_of_each_precision_becomes_an_array(precision, dtype):
    """NumPy has no bfloat16: such an encoding becomes float32, without a loss."""
    values = np.arange(12, dtype=np.float32).reshape(2, 3, 2)
    view = ctranslate2.StorageView.from_array(values).to(getattr(ctranslate2.DataType, precision))
    array = to_array(view)
    assert array.dtype == dtype
    assert (array == values).all()


@pytest.mark.speech
@pytest.mark.parametrize("precision", ["float16", pytest.param("bfloat16", marks=pytest.mark.slow)])
def test_encodings_of_half_precision_decode_to_the_same_tokens(base_model_dir, precision):
    """They go through host memory between the encoder's call and the decoder's."""
    model = WhisperModel(base_model_dir, name="base", device=Device("cpu"), compute_type="float32", threads=1)
    samples, _ = soundfile.read(RECORDINGS["en-sonnet"].path, dtype="float32", always_2d=True, frames=10 * 16_000)
    (encoding,) = model.encode([LogMel(model.facts.n_mels)(samples[:, 0], 3000)])
    half = ctranslate2.StorageView.from_array(encoding[np.newaxis]).to(getattr(ctranslate2.DataType, precision))
    vocabulary = Vocabulary(model.tokenizer, multilingual=True)
    options = DecodingOptions(language="en", max_new_tokens=40)
    prompt = vocabulary.prompt(options, "en")
    how = generate_options(options, prompt, 0.0, vocabulary.suppressed)
    (whole,) = model.generate([encoding], [prompt.tokens], how)
    (halved,) = model.generate([to_array(half)[0]], [prompt.tokens], how)
    assert len(whole.tokens) > 10
    assert halved.tokens == whole.tokens
