"""Audio, fbank, CMVN: right values, and faults that name the file."""

from __future__ import annotations

import struct
import subprocess
import time
from pathlib import Path

import kaldi_native_fbank as knf
import kaldiio
import numpy as np
import pytest
import soundfile

from cascade_asr.data.audio.any_audio import read_any
from cascade_asr.data.audio.audio import Pipes, SegmentReader, read_audio
from cascade_asr.data.features.cmvn import (
    FeatureStatistics,
    load_features,
    mean_and_deviation,
    read_speaker_statistics,
    write_global_statistics,
    write_speaker_statistics,
)
from cascade_asr.data.features.extraction import read_extractor
from cascade_asr.data.features.fbank import compute_fbank, option_faults, read_fbank_options
from cascade_asr.data.importers.entries import Fault
from cascade_asr.data.importers.recordings import probe
from cascade_asr.data.kaldi.data_dir import DataDir
from cascade_asr.data.kaldi.speed import perturb_speed
from cascade_asr.data.kaldi.tables import Segment, parse_segment
from cascade_asr.errors import ConfigError, DataError

RATE = 8000
MP3_RATE = 16000


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    samples = np.random.default_rng(0).integers(-9000, 9000, RATE, dtype=np.int16)
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="PCM_16")
    return tmp_path / "a.wav"


def test_samples_are_in_the_range_of_integers(wav: Path):
    samples, rate = read_audio(str(wav))
    assert rate == RATE and samples.dtype == np.float32
    np.testing.assert_array_equal(samples, soundfile.read(wav, dtype="int16")[0])


def test_a_pipe_gives_what_the_file_holds(wav: Path):
    direct, _ = read_audio(str(wav))
    piped, rate = read_audio(f"sox {wav} -t wav - |")
    assert rate == RATE
    np.testing.assert_array_equal(direct, piped)


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_24_bits_through_a_pipe_of_sox(channels: int, wav: Path):
    """The length that sox writes instead of an unknown one is a multiple of a frame's bytes."""
    direct, _ = read_audio(str(wav))
    pipe = f"sox {wav} -b 24 -t wav - remix {' 1' * channels} trim 0 |"
    for entry in (pipe, f"{pipe} sox -R -D -t wav - -t wav - |"):
        piped, _ = read_audio(entry)
        np.testing.assert_array_equal(piped, np.tile(direct[:, None], channels).squeeze())


@pytest.mark.parametrize("command", ["false | cat {} |", "sox {}.no -t wav - |", "exit 3 |"])
def test_a_fault_in_any_part_of_a_pipe_counts(command: str, wav: Path):
    with pytest.raises(DataError, match="ended with status"):
        read_audio(command.format(wav))


IGNORES_SIGPIPE = """python -c "import shutil, sys; shutil.copyfileobj(open('{}', 'rb'), sys.stdout.buffer)" """


@pytest.mark.parametrize("before", ["cat {}", IGNORES_SIGPIPE])
def test_what_a_part_of_a_pipe_leaves_unread_is_no_fault(before: str, tmp_path: Path):
    long = tmp_path / "long.wav"
    samples = np.arange(60 * RATE, dtype=np.int32).astype(np.int16)
    soundfile.write(long, samples, RATE)
    for end in ("|", "| sox -t wav - -t wav - |"):
        found, _ = read_audio(f"{before.format(long)} | sox -t wav - -t wav - trim 10 5 {end}")
        np.testing.assert_array_equal(found, samples[10 * RATE : 15 * RATE])
    for command, status in (
        (f"{before.format(long)} | (head -c 10; exit 3) |", 3),
        (f"(echo Broken pipe >&2; false) | sox {long} -t wav - | (cat; exit 4) |", 4),
        (f"false | sox {long} -t wav - trim 10 5 |", 1),
    ):
        with pytest.raises(DataError, match=f"ended with status {status}: "):
            read_audio(command)


def test_a_truncated_file_is_refused(wav: Path):
    wav.write_bytes(wav.read_bytes()[:-100])
    with pytest.raises(DataError, match="header says 8000 samples, found 7950: truncated"):
        read_audio(str(wav))


def test_other_broken_files(tmp_path: Path):
    (tmp_path / "empty.wav").touch()
    (tmp_path / "text.wav").write_text("no audio at all")
    for name, message in (
        ("no.wav", "no such audio file"),
        ("empty.wav", "empty file"),
        ("text.wav", "cannot be read as audio"),
    ):
        with pytest.raises(DataError, match=message):
            read_audio(str(tmp_path / name))


def test_segments_are_cut_clipped_and_checked(wav: Path):
    reader = SegmentReader({"a": str(wav)})
    whole, _ = reader.read("u", Segment("a", 0.0, None))
    part, _ = reader.read("u", Segment("a", 0.25, 0.5))
    np.testing.assert_array_equal(part, whole[2000:4000])
    assert len(reader.read("u", Segment("a", 0.5, 1.09))[0]) == 4000
    for segment, message in (
        (Segment("a", 0.5, 1.2), "u: ends at 1.20 s but recording 'a' ends at 1.00 s"),
        (Segment("a", 1.02, 1.05), "u: zero/negative length 1.02-1.00"),
        (Segment("b", 0.0, None), "recording 'b' is not in wav.scp"),
    ):
        with pytest.raises(DataError, match=message):
            reader.read("u", segment)


@pytest.mark.parametrize("factor", [0.5, 0.9, 1.1])
def test_a_segment_that_is_clipped_is_clipped_at_every_speed(tmp_path: Path, wav: Path, factor: float):
    """What stage 1 accepted at speed 1 it refused at 0.9."""
    tables = {"wav.scp": {"a": str(wav)}, "utt2spk": {"u": "s"}, "segments": {"u": "a 0.5 1.098"}}
    perturbed = perturb_speed(DataDir(tmp_path, tables), factor)
    reader = SegmentReader(perturbed.tables["wav.scp"])
    samples, rate = reader.read("u", parse_segment(perturbed.tables["segments"][f"sp{factor:g}-u"]))
    assert len(samples) / rate == pytest.approx(0.5 / factor, abs=0.001)
    with pytest.raises(DataError, match="ends at"):
        reader.read("u", Segment(f"sp{factor:g}-a", 0.0, 1.12 / min(factor, 1.0)))


def test_two_channels_are_told_with_the_remedy(tmp_path: Path):
    soundfile.write(tmp_path / "s.wav", np.zeros((800, 2)), RATE)
    with pytest.raises(DataError, match="2 channels, expected 1; .*remix 1"):
        SegmentReader({"s": str(tmp_path / "s.wav")}).read("u", Segment("s", 0.0, None))


OPTIONS = """\
# comment
--sample-frequency=8000
--num-mel-bins=16   # and another
--frame-shift=8
"""


def test_features_are_those_of_kaldi_native_fbank(tmp_path: Path, wav: Path):
    (tmp_path / "fbank.conf").write_text(OPTIONS)
    options = read_fbank_options(tmp_path / "fbank.conf")
    samples, rate = read_audio(str(wav))
    features = compute_fbank(samples, rate, options, "u")
    reference = knf.FbankOptions()
    reference.frame_opts.samp_freq, reference.frame_opts.frame_shift_ms = 8000, 8
    reference.frame_opts.dither, reference.mel_opts.num_bins = 0, 16
    fbank = knf.OnlineFbank(reference)
    fbank.accept_waveform(8000, (soundfile.read(wav, dtype="int16")[0]).astype(np.float32).tolist())
    fbank.input_finished()
    expected = np.stack([fbank.get_frame(i) for i in range(fbank.num_frames_ready)])
    assert features.shape == (1 + (8000 - 200) // 64, 16)
    np.testing.assert_allclose(features, expected, atol=1e-5)
    np.testing.assert_array_equal(features, compute_fbank(samples, rate, options, "u"))


def test_wrong_rate_and_short_audio(tmp_path: Path):
    (tmp_path / "fbank.conf").write_text(OPTIONS)
    options = read_fbank_options(tmp_path / "fbank.conf")
    with pytest.raises(DataError, match="utterance 'u': 16000 Hz, recipe expects 8000"):
        compute_fbank(np.zeros(16000, np.float32), 16000, options, "u")
    assert compute_fbank(np.zeros(100, np.float32), 8000, options, "u").shape == (0, 16)


def test_all_wrong_fbank_options_are_listed(tmp_path: Path):
    path = tmp_path / "fbank.conf"
    path.write_text("--num-mel-bin=80\nframe-shift=10\n--use-power=yes\n--frame-shift=ten\n")
    with pytest.raises(ConfigError) as caught:
        read_fbank_options(path)
    lines = str(caught.value).splitlines()
    assert lines[0].endswith(
        ":1: unknown fbank option '--num-mel-bin'; did you mean 'num-mel-bins'?"
    )
    assert ":2: expected '--name=value'" in lines[1]
    assert ":3: --use-power=yes: expected true or false" in lines[2]
    assert lines[3].startswith(f"{path}:4: --frame-shift=ten:")


def test_statistics_are_the_mean_and_deviation(tmp_path: Path):
    features = np.random.default_rng(1).normal(3.0, 2.0, (500, 4)).astype(np.float32)
    statistics = FeatureStatistics()
    for part in np.split(features, 5):
        statistics.add(part)
    mean, deviation = mean_and_deviation(statistics.kaldi_matrix())
    np.testing.assert_allclose(mean, features.mean(0), rtol=1e-5)
    np.testing.assert_allclose(deviation, features.std(0), rtol=1e-5)
    write_global_statistics(tmp_path / "cmvn.npz", statistics)
    stored = np.load(tmp_path / "cmvn.npz")
    assert int(stored["count"]) == 500
    np.testing.assert_allclose(stored["sum"] / 500, features.mean(0), rtol=1e-5)
    write_speaker_statistics(tmp_path / "cmvn.ark", {"s": statistics})
    np.testing.assert_allclose(read_speaker_statistics(tmp_path / "cmvn.ark")["s"][0], mean)


def test_constant_features_do_not_divide_by_zero():
    statistics = FeatureStatistics()
    statistics.add(np.full((10, 2), 5.0))
    mean, deviation = mean_and_deviation(statistics.kaldi_matrix())
    assert np.isfinite((np.full(2, 5.0) - mean) / deviation).all()


def test_compression_keeps_features_close(tmp_path: Path):
    features = np.random.default_rng(2).normal(10, 4, (200, 16)).astype(np.float32)
    kaldiio.save_ark(str(tmp_path / "a.ark"), {"u": features}, compression_method=2)
    loaded = dict(kaldiio.load_ark(str(tmp_path / "a.ark")))["u"]
    assert np.abs(loaded - features).max() < 0.3


# Headers that do not know their length, speed, commands


def stream_header(wav: Path, length: int) -> bytes:
    content = bytearray(wav.read_bytes())
    assert content[36:40] == b"data"
    content[40:44] = struct.pack("<I", length)
    return bytes(content)


@pytest.mark.parametrize("length", [0, 0xFFFFFFFF, 0x7FFFF000, 0x7FFFFFFF])
@pytest.mark.parametrize("form", ["{}", "cat {} |"])
def test_wav_that_a_pipe_wrote_is_read_to_its_end(wav: Path, length: int, form: str):
    direct, _ = read_audio(str(wav))
    wav.write_bytes(stream_header(wav, length))
    np.testing.assert_array_equal(read_audio(form.format(wav))[0], direct)


@pytest.mark.parametrize("words", [["-rf64", "always"], []])
def test_what_ffmpeg_writes_is_read(wav: Path, words: list[str], tmp_path: Path):
    direct, _ = read_audio(str(wav))
    command = ["ffmpeg", "-v", "error", "-i", wav, *words]
    subprocess.run([*command, tmp_path / "file.wav"], check=True)
    piped = subprocess.run([*command, "-f", "wav", "-"], check=True, capture_output=True).stdout
    (tmp_path / "piped.wav").write_bytes(piped)
    for name in ("file.wav", "piped.wav"):
        np.testing.assert_array_equal(read_audio(str(tmp_path / name))[0], direct)
        assert speed(tmp_path / name).shape == (8889,)


def test_truncation_is_seen_through_a_pipe_and_in_rf64(wav: Path, tmp_path: Path):
    subprocess.run(
        ["ffmpeg", "-v", "error", "-i", wav, "-rf64", "always", tmp_path / "b.wav"], check=True
    )
    (tmp_path / "b.wav").write_bytes((tmp_path / "b.wav").read_bytes()[:-100])
    wav.write_bytes(wav.read_bytes()[:-100])
    for entry in (tmp_path / "b.wav", f"cat {wav} |"):
        with pytest.raises(DataError, match="header says 8000 samples, found 7950: truncated"):
            read_audio(str(entry))


@pytest.fixture
def mp3(tmp_path: Path) -> Path:
    """Six seconds with a variable bit rate; the first frame is a header that says how long it is."""
    noise = np.random.default_rng(0).standard_normal(MP3_RATE)
    tone = 0.2 * np.sin(2 * np.pi * 440 * np.arange(5 * MP3_RATE) / MP3_RATE)
    samples = np.concatenate([0.3 * noise.clip(-1, 1), tone])
    soundfile.write(tmp_path / "a.mp3", samples, MP3_RATE, format="MP3", bitrate_mode="VARIABLE")
    return tmp_path / "a.mp3"


def _without_header(content: bytes) -> bytes:
    return content[content.index(content[:2], 2) :]


def test_an_mp3_that_does_not_say_how_long_it_is_is_not_cut_short(mp3: Path):
    """libsndfile takes all frames for as long as the first one, and reads a fifth of this one."""
    samples, rate = read_audio(str(mp3))
    assert rate == MP3_RATE and len(samples) == 6 * MP3_RATE
    assert probe(mp3).duration_s == 6.0 and not probe(mp3).needs_ffmpeg
    content = mp3.read_bytes()
    mp3.write_bytes(b"ID3\x04\x00\x00\x00\x00\x00\x14" + 20 * b"t" + _without_header(content) + b"TAG" + 125 * b" ")
    with pytest.raises(DataError, match="libsndfile reads 1.. s of 6.. s; write 'ffmpeg .* instead"):
        read_audio(str(mp3))
    found = probe(mp3)
    assert found.needs_ffmpeg and found.duration_s == pytest.approx(6, abs=0.1)
    samples, _ = read_audio(found.wav_entry(None, MP3_RATE))
    assert len(samples) == pytest.approx(6 * MP3_RATE, abs=0.1 * MP3_RATE)
    assert len(read_any(mp3, MP3_RATE, "a")) == len(samples)
    soundfile.write(mp3, np.ones(100), MP3_RATE, format="MP3", bitrate_mode="CONSTANT")
    mp3.write_bytes(_without_header(mp3.read_bytes()))  # nothing is missing at a constant bit rate
    assert len(read_audio(str(mp3))[0]) == pytest.approx(probe(mp3).duration_s * MP3_RATE, abs=1152)


def test_a_truncated_mp3_is_refused(mp3: Path):
    content = mp3.read_bytes()
    mp3.write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match="header says [0-9]+ bytes, found [0-9]+: truncated"):
        read_audio(str(mp3))
    with pytest.raises(Fault, match="truncated: its header promises more bytes"):
        probe(mp3)


@pytest.mark.parametrize("kind", ["aiff", "aifc", "au", "w64"])
def test_truncation_is_seen_in_other_formats(wav: Path, tmp_path: Path, kind: str):
    path, piped = tmp_path / f"a.{kind}", tmp_path / f"b.{kind}"
    subprocess.run(["sox", wav, path], check=True)
    with piped.open("wb") as stream:  # where the length may be unknown
        subprocess.run(["sox", "-t", "wav", "-", "-t", kind, "-"], stdin=wav.open("rb"), stdout=stream, check=True)
    for each in (path, piped):
        assert len(read_audio(str(each))[0]) == RATE and probe(each).duration_s == 1.0
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match="a.*: shorter than its header says: truncated"):
        read_audio(str(path))
    with pytest.raises(Fault, match="truncated: its header promises more bytes"):
        probe(path)


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_truncation_is_seen_in_ogg(tmp_path: Path, subtype: str):
    path = tmp_path / "a.ogg"
    soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, 10 * RATE), RATE, format="OGG", subtype=subtype)
    content = path.read_bytes()
    assert len(read_audio(str(path))[0]) == 10 * RATE
    pages = [place for place in range(len(content)) if content.startswith(b"OggS\0", place)]
    assert len(pages) > 3
    for length in (pages[-1] + 10, pages[-1] + 27, pages[-1] + 40, len(content) - 1, len(content) // 2):
        path.write_bytes(content[:length])
        with pytest.raises(DataError, match="a.ogg: shorter than its header says: truncated"):
            read_audio(str(path))
        with pytest.raises(Fault, match="truncated: its header promises more bytes"):
            probe(path)


def speed(path: Path, factor: float = 0.9) -> np.ndarray:
    """An audio file at another speed, as read through its perturbed wav.scp."""
    data = DataDir(path.parent, {"utt2spk": {"a": "s"}, "wav.scp": {"a": str(path)}})
    (entry,) = perturb_speed(data, factor).tables["wav.scp"].values()
    return read_audio(entry)[0]


@pytest.mark.parametrize("name", ["a.mp3", "mp3.wav", "a.flac", "flac.wav", "sphere.wav", "a b's.sph"])
def test_what_is_read_at_speed_1_is_read_at_another(wav: Path, tmp_path: Path, name: str):
    samples = soundfile.read(wav, dtype="int16")[0]
    path = tmp_path / name
    if "mp3" in name:
        soundfile.write(path, samples, RATE, format="MP3")
    elif "flac" in name:
        soundfile.write(path, samples, RATE, format="FLAC")
    else:
        path.write_bytes(sphere_bytes(samples))
    slow = speed(path)
    assert abs(len(slow) - len(read_audio(str(path))[0]) / 0.9) < 2
    if "mp3" not in name:
        np.testing.assert_array_equal(slow, speed(wav))


def sphere_bytes(samples: np.ndarray) -> bytes:
    fields = f"sample_count -i {len(samples)}\nchannel_count -i 1\nsample_rate -i {RATE}\n"
    fields += "sample_n_bytes -i 2\nsample_byte_format -s2 01\nsample_coding -s3 pcm\nend_head\n"
    return f"NIST_1A\n   1024\n{fields}".encode().ljust(1024) + samples.astype("<i2").tobytes()


@pytest.mark.parametrize(
    "command",
    ["sph2pipe -f wav {} |", "sph2pipe -f wav -p -c 1 {} |", "/no/such/sph2pipe -p -c 1 -f wav {} |",
     "sph2pipe -f wav -p {} | sox -t wav - -t wav - |"],
)  # fmt: skip
def test_sphere_behind_sph2pipe_is_read_without_it(wav: Path, tmp_path: Path, command: str):
    samples = soundfile.read(wav, dtype="int16")[0]
    (tmp_path / "a.sph").write_bytes(sphere_bytes(samples))
    found, rate = read_audio(command.format(tmp_path / "a.sph"))
    assert rate == RATE
    np.testing.assert_array_equal(found, samples)


def test_a_part_cut_by_sph2pipe_is_left_to_it(tmp_path: Path):
    with pytest.raises(DataError, match="ended with status 127"):
        read_audio(f"/no/such/sph2pipe -f wav -t 0:1 {tmp_path}/a.sph |")


def test_commands_that_hang_or_print_nothing_are_named_with_the_utterance(wav: Path):
    limits = Pipes(limit_s=0.3)
    started = time.monotonic()
    for command, message in (
        ("sleep 30 | cat |", "utterance 'u': .*'sleep 30 | cat |' has not ended after 0.3 s"),
        ("true |", "utterance 'u': .*'true |' prints nothing"),
        ("exit 3 |", "utterance 'u': .*ended with status 3"),
    ):
        with pytest.raises(DataError, match=message.replace("|", "[|]")):
            SegmentReader({"r": command}, limits).read("u", Segment("r", 0.0, None))
    assert time.monotonic() - started < 10
    with pytest.raises(DataError, match="utterance 'u': .*commands are not allowed"):
        SegmentReader({"r": f"cat {wav} |"}, Pipes(False)).read("u", Segment("r", 0.0, None))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_samples_and_features_that_are_no_numbers_name_the_utterance(tmp_path: Path, value: float):
    samples = np.zeros(RATE, dtype=np.float32)
    samples[400] = value
    soundfile.write(tmp_path / "a.wav", samples, RATE, subtype="FLOAT")
    reader = SegmentReader({"r": str(tmp_path / "a.wav")})
    with pytest.raises(DataError, match="utterance 'u': recording 'r' has samples .* at sample 400"):
        reader.read("u", Segment("r", 0.0, None))
    kaldiio.save_ark(str(tmp_path / "f.ark"), {"u": np.full((3, 2), value, np.float32)},
                     scp=str(tmp_path / "f.scp"))  # fmt: skip
    entry = (tmp_path / "f.scp").read_text().split()[1]
    with pytest.raises(DataError, match="utterance 'u': features .* NaN or infinite"):
        load_features(entry, "u")


@pytest.mark.parametrize(
    "entry", ["touch {} |", "touch {}|", "touch {} | ", "touch {} |[0:3]", "touch {} |:0", "-"]
)
def test_a_command_in_feats_scp_is_not_run(tmp_path: Path, entry: str):
    with pytest.raises(DataError, match="utterance 'u': feats.scp has the command"):
        load_features(entry.format(tmp_path / "made"), "u")
    assert not (tmp_path / "made").exists()


# Values of fbank options


def options_of(path: Path, *lines: str) -> knf.FbankOptions:
    path.write_text("\n".join(lines) + "\n")
    return read_fbank_options(path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--frame-shift=0", "fbank.conf:2: --frame-shift=0: expected ms, one sample"),
        ("--frame-shift=0.01", "--frame-shift=0.01: expected ms, one sample"),
        ("--frame-length=0", "--frame-length=0: expected ms, two samples"),
        ("--frame-length=-25", "--frame-length=-25: "),
        ("--frame-length=1e9", "--frame-length=1e[+]09: .* at most 10000"),
        ("--high-freq=4001", "fbank.conf:2: --high-freq=4001: .* at most 4000 Hz"),
        ("--high-freq=-4000", "--high-freq=-4000: "),
        ("--low-freq=4000", "--low-freq=4000: expected 0 Hz to below 4000"),
        ("--low-freq=-1", "--low-freq=-1: "),
        ("--num-mel-bins=200", "fbank.conf:2: --num-mel-bins=200: too many for 8000 Hz"),
        ("--num-mel-bins=2", "--num-mel-bins=2: expected 3"),
        ("--num-mel-bins=99999999999", "fbank.conf:2: --num-mel-bins=99999999999: "),
        ("--sample-frequency=0", "--sample-frequency=0: expected Hz"),
        ("--sample-frequency=nan", "--sample-frequency=nan: expected a number"),
        ("--window-type=hann", "--window-type=hann: expected povey, .*did you mean 'hanning'"),
        ("--window-type=", "--window-type=: expected povey"),
        ("--dither=-1", "--dither=-1: expected 0 or more"),
        ("--num-mel-bins", "fbank.conf:2: expected '--name=value'"),
        ("\ufeff--dither=0", "fbank.conf:2: "),
    ],
)
def test_values_that_make_no_features_are_told_with_their_line(
    tmp_path: Path, line: str, message: str
):
    with pytest.raises(ConfigError, match=message):
        options_of(tmp_path / "fbank.conf", "--sample-frequency=8000", line)


def test_the_default_number_of_bins_is_checked_against_the_rate(tmp_path: Path):
    with pytest.raises(ConfigError, match="fbank.conf: --num-mel-bins=80: too many for 8000 Hz"):
        options_of(tmp_path / "fbank.conf", "--sample-frequency=8000", "--frame-length=10")


@pytest.mark.parametrize(
    ("text", "value"),
    [("", True), ("=true", True), ("=t", True), ("=1", True), ("=T", True), ("=", True),
     ("=false", False), ("=f", False), ("=0", False)],
)  # fmt: skip
def test_flags_are_written_as_in_kaldi(tmp_path: Path, text: str, value: bool):
    options = options_of(tmp_path / "fbank.conf", f"--use-energy{text}")
    assert options.use_energy is value
    assert options_of(tmp_path / "fbank.conf", f"--use_energy{text}").use_energy is value


@pytest.mark.parametrize("rate", [8000, 16000])
@pytest.mark.parametrize("bins", [23, 80, 90, 128, 200])
@pytest.mark.parametrize("length", [5, 10, 25])
def test_bins_are_refused_where_the_library_refuses_them(rate: int, bins: int, length: int):
    options = knf.FbankOptions()
    options.frame_opts.dither = 0
    options.frame_opts.samp_freq, options.frame_opts.frame_length_ms = rate, length
    options.mel_opts.num_bins = bins
    try:
        knf.OnlineFbank(options)
        refused = False
    except ValueError:
        refused = True
    assert bool(option_faults(options)) is refused


@pytest.mark.parametrize("line", ["--fmax=9000", "--fmin=8000", "--fmin=-1", "--fmin=500\n--fmax=400"])
def test_frequencies_of_espnets_features_fit_the_rate(tmp_path: Path, line: str):
    (tmp_path / "fbank.conf").write_text(f"--feature-type=espnet2\n{line}\n")
    with pytest.raises(ConfigError, match="expected 0 <= fmin < fmax <= 8000"):
        read_extractor(tmp_path / "fbank.conf")
