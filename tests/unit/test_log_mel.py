"""Features of ESPnet2's default frontend, against numbers from ESPnet 202511 with librosa 0.11."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import kaldiio
import numpy as np
import pytest
import soundfile
from conftest import environment

from cascade_asr.data.features.extraction import read_extractor
from cascade_asr.data.features.log_mel import (
    LogMelOptions,
    compute_log_mel,
    from_frontend_conf,
    mel_matrix,
    option_lines,
    read_log_mel_options,
)
from cascade_asr.errors import ConfigError, DataError

NARROW = {"fs": 8000, "n_fft": 256, "hop_length": 80, "win_length": 200, "n_mels": 23, "fmin": 20,
          "fmax": 3800, "htk": True}  # fmt: skip
# what ESPnet's DefaultFrontend gives for `signal()`: T, frame 5, end of the last frame, sum
EXPECTED = [
    ({}, 32, [-6.646569, 1.319752, 3.383708, 3.174422, 0.894269, -0.4941],
     [-8.434957, -8.482922, -8.519066, -8.546473], -37877.96160149388, 2.558260917663574),
    (NARROW, 51, [1.102996, -0.185917, -3.326658, -8.547405, -11.669267, -12.968894],
     [-7.712342, -7.98884, -8.214033, -8.370854], -16716.993423379026, 0.7359158992767334),
    ({"fs": "16k", "win_length": 400, "hop_length": 160, "window": "hamming"}, 26,
     [-3.175918, 1.453473, 3.118959, 2.972691, 0.981824, -4.049123],
     [-8.356593, -8.404941, -8.439947, -8.4678], -16923.08577682078, 2.558260917663574),
]  # fmt: skip


def signal() -> np.ndarray:
    import torch

    time = torch.arange(4000, dtype=torch.float32)
    return (0.3 * torch.sin(time * 0.05) + 0.2 * torch.sin(time * time * 1e-4)).numpy()


@pytest.mark.parametrize(("conf", "frames", "fifth", "end", "total", "filters"), EXPECTED)
def test_features_are_espnets(conf, frames, fifth, end, total, filters):
    options = from_frontend_conf(conf)
    features = compute_log_mel(signal() * np.float32(32768), options.fs, options, "u")
    assert features.shape == (frames, options.n_mels)
    assert features.dtype == np.float32
    np.testing.assert_allclose(features[5, :6], fifth, atol=1e-5)
    np.testing.assert_allclose(features[-1, -4:], end, atol=1e-5)
    assert features.astype(np.float64).sum() == pytest.approx(total, rel=1e-6)
    assert float(mel_matrix(options).sum()) == pytest.approx(filters, rel=1e-6)


@pytest.mark.parametrize("conf", [{}, NARROW])
def test_features_are_those_of_espnets_class(conf: dict):
    """Where librosa and the other packages that ESPnet's class needs are installed."""
    frontend = pytest.importorskip("espnet2.asr.frontend.default", exc_type=ImportError)
    import torch

    theirs = frontend.DefaultFrontend(**conf).eval()
    options = from_frontend_conf(conf)
    samples = torch.randn(1, 9000, generator=torch.Generator().manual_seed(0)) * 0.1
    expected, _ = theirs(samples, torch.tensor([9000]))
    features = compute_log_mel(samples[0].numpy() * np.float32(32768), options.fs, options, "u")
    np.testing.assert_allclose(features, expected[0].numpy(), atol=1e-5)
    assert torch.equal(mel_matrix(options), theirs.logmel.melmat)


def test_options_are_written_and_read(tmp_path: Path):
    for conf, *_ in EXPECTED:
        options = from_frontend_conf(conf)
        path = tmp_path / "fbank.conf"
        path.write_text("\n".join(option_lines(options)) + "  # and a comment\n")
        assert read_log_mel_options(path) == options
    assert LogMelOptions() == from_frontend_conf({"frontend_conf": {"use_wpe": False}})


def test_wrong_options_are_listed(tmp_path: Path):
    path = tmp_path / "fbank.conf"
    path.write_text("--feature-type=espnet2\n--n-mel=80\n--fs=x\n--htk=yes\n")
    with pytest.raises(ConfigError) as refusal:
        read_extractor(path)
    lines = str(refusal.value).splitlines()
    assert lines[0] == f"{path}:2: unknown option '--n-mel'; did you mean 'n-mels'?"
    assert lines[1].startswith(f"{path}:3: --fs=x: invalid literal")
    assert lines[2] == f"{path}:4: --htk=yes: expected true or false"
    path.write_text("--feature-type=mfcc\n")
    with pytest.raises(ConfigError, match="fbank.conf:1: --feature-type=mfcc: expected kaldi"):
        read_extractor(path)
    path.write_text("--feature-type=espnet2\n--window=sine\n--win-length=600\n--n-mels=0\n")
    with pytest.raises(ConfigError, match="n_mels is 0, .*unknown window 'sine'; win_length is 600"):
        read_extractor(path)
    with pytest.raises(ConfigError, match="no such file"):
        read_extractor(tmp_path / "nothing.conf")
    for conf, message in (
        ({"normalized": True}, "normalized: not supported"),
        ({"frontend_conf": {"use_wpe": True}}, "frontend_conf.use_wpe: not supported"),
        ({"spec": 1}, "spec: not supported"),
    ):
        with pytest.raises(ValueError, match=message):
            from_frontend_conf(conf)


def test_wrong_rate_and_short_audio():
    options = LogMelOptions()
    with pytest.raises(DataError, match="utterance 'u': 8000 Hz, the features expect 16000"):
        compute_log_mel(np.zeros(16000, np.float32), 8000, options, "u")
    assert compute_log_mel(np.zeros(256, np.float32), 16000, options, "u").shape == (0, 80)
    assert compute_log_mel(np.zeros(257, np.float32), 16000, options, "u").shape == (3, 80)


def test_stage_1_computes_them_and_keeps_the_options(tmp_path: Path):
    samples = (signal() * 30000).astype(np.int16)
    soundfile.write(tmp_path / "a.wav", samples, 16000)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/wav.scp").write_text(f"a {tmp_path}/a.wav\n")
    options = LogMelOptions(hop_length=160)
    config = tmp_path / "espnet2.conf"
    config.write_text("\n".join(option_lines(options)))
    subprocess.run(
        [sys.executable, "-m", "cascade_asr.cli.fbank", "--config", str(config), "--compress",
         "false", str(tmp_path / "data"), str(tmp_path / "dump/fbank.1")],
        env=environment(), check=True, capture_output=True,
    )  # fmt: skip
    (entry,) = (tmp_path / "dump/fbank.1.scp").read_text().splitlines()
    features = kaldiio.load_mat(entry.split()[1])
    expected = compute_log_mel(samples.astype(np.float32), 16000, options, "a")
    np.testing.assert_array_equal(features, expected)
    assert read_log_mel_options(tmp_path / "dump/fbank.conf") == options


def test_numbers_of_a_configuration_are_those_of_the_option_file(tmp_path: Path):
    """YAML written by hand may have 80.0 for 80; what is no number ended in a traceback."""
    options = from_frontend_conf({"fs": 16000.0, "fmin": 80.0, "n_mels": 40.0})
    path = tmp_path / "fbank.conf"
    path.write_text("\n".join(option_lines(options)))
    assert read_log_mel_options(path) == options == LogMelOptions(fmin=80, n_mels=40)
    with pytest.raises(ValueError, match="n_fft: expected an integer, found None; hop_length: .* '128'"):
        from_frontend_conf({"n_fft": None, "hop_length": "128"})
