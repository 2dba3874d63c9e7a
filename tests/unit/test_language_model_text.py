"""Text of a language model: layouts, vocabulary, ids, columns and sequence lengths."""

from __future__ import annotations

import logging
from collections import Counter

import numpy as np
import pytest
import torch

from cascade_asr.errors import DataError
from cascade_asr.lm import corpus
from cascade_asr.lm.batches import TextLoader, sequence_lengths
from cascade_asr.lm.corpus import Vocabulary

LAYOUTS = {
    "tokens": ("wiki.train.tokens", "wiki.valid.tokens", "wiki.test.tokens"),
    "txt": ("train.txt", "valid.txt", "test.txt"),
    "hugging face": ("train.txt", "validation.txt", "test.txt"),
    "below": (
        "wikitext-2/wiki.train.tokens",
        "wikitext-2/wiki.valid.tokens",
        "wikitext-2/wiki.test.tokens",
    ),
}


def write(directory, names, texts=("a <unk> \n", "b\n", "c\n")):
    for name, text in zip(names, texts, strict=True):
        path = directory / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_in_the_wild_are_found(tmp_path, layout):
    write(tmp_path, LAYOUTS[layout])
    found = corpus.find_parts(tmp_path)
    expected = {part: tmp_path / name for part, name in zip(found, LAYOUTS[layout], strict=True)}
    assert list(found) == ["train", "valid", "test"]
    assert found == expected


def test_a_missing_part_and_a_missing_folder_are_named(tmp_path):
    write(tmp_path, ("train.txt", "test.txt", "notes.md"))
    with pytest.raises(DataError, match=r"no text for valid; .* found: notes.md, test.txt, train"):
        corpus.find_parts(tmp_path)
    with pytest.raises(DataError, match="no such folder"):
        corpus.find_parts(tmp_path / "absent")


def test_raw_variants_are_refused(tmp_path):
    write(tmp_path, ("wiki.train.raw", "wiki.valid.raw", "wiki.test.raw"))
    with pytest.raises(DataError, match=r"raw variant of WikiText-2.* use wikitext-2-v1"):
        corpus.find_parts(tmp_path)
    counts = {part: Counter({"word": 3, corpus.EOS: 1}) for part in corpus.PARTS}
    with pytest.raises(DataError, match="no <unk> and 2 different tokens: this is the raw"):
        corpus.check_wikitext2(counts, tmp_path, strict=False)


def counted(tokens: int, words: list[str]) -> Counter:
    counts = Counter(dict.fromkeys(words, 1))
    counts[corpus.EOS] = tokens - len(words)
    return counts


def test_the_size_of_wikitext2_is_checked(tmp_path, caplog):
    words = [corpus.UNKNOWN, *map(str, range(33_276))]
    counts = {
        "train": counted(2_088_628, words),
        "valid": counted(217_646, []),
        "test": counted(245_569, []),
    }
    with caplog.at_level(logging.WARNING):
        corpus.check_wikitext2(counts, tmp_path, strict=True)
    assert not caplog.records
    counts["valid"]["new"] += 1
    with pytest.raises(DataError, match=r"valid: 217647, expected 217646; vocabulary: 33279, exp"):
        corpus.check_wikitext2(counts, tmp_path, strict=True)
    with caplog.at_level(logging.WARNING):
        corpus.check_wikitext2(counts, tmp_path, strict=False)
    assert "not the whole WikiText-2: valid: 217647, expected 217646" in caplog.text


def test_every_line_ends_in_eos_blank_ones_too(tmp_path):
    path = tmp_path / "text"
    path.write_bytes("a b\n\n \n c \u2028d\x85e\nf".encode())
    lines = list(corpus.read_lines(path))
    assert len(lines) == 5
    vocabulary = Vocabulary(["<eos>", "<unk>", "a", "b", "c", "f"])
    # U+2028 and U+0085 neither end a line nor separate words: only ASCII white space does
    assert vocabulary.encode(lines).tolist() == [2, 3, 0, 0, 0, 4, 1, 0, 5, 0]
    assert corpus.count_tokens(lines)["<eos>"] == 5


@pytest.mark.parametrize("line", ["a b <eos>", "<eos>", "a <eos> b"])
def test_a_text_with_line_ends_of_its_own_is_refused(tmp_path, line):
    path = tmp_path / "train.txt"
    path.write_text(f"a<eos>b\n{line}\n")
    with pytest.raises(DataError, match=r"train.txt:2: <eos> stands in the text"):
        corpus.read_lines(path)


def test_cr_is_stripped_with_a_warning(tmp_path, caplog):
    path = tmp_path / "text"
    path.write_bytes(b"a b\r\n\r\nc\r\n")
    assert list(corpus.read_lines(path)) == [["a", "b"], [], ["c"]]
    assert "CR LF" in caplog.text


def test_odd_blanks_are_named_and_a_byte_order_mark_is_refused(tmp_path, caplog):
    path = tmp_path / "text"
    path.write_text("a\tb\n10\u00a0000 x\n", encoding="utf-8")
    assert list(corpus.read_lines(path)) == [["a", "b"], ["10\u00a0000", "x"]]
    assert "text:2: U+00A0 NO-BREAK SPACE in column 3" in caplog.text
    path.write_bytes(b"\xef\xbb\xbfa\n")
    with pytest.raises(DataError, match="text:1: the file begins with a byte order mark"):
        corpus.read_lines(path)


def test_what_is_not_utf8_is_told_with_its_place(tmp_path):
    path = tmp_path / "text"
    path.write_bytes(b"a\nb \xff\n")
    with pytest.raises(DataError, match=r"text:2: not UTF-8 \(byte offset 4\)"):
        corpus.read_lines(path)


def test_a_vocabulary_is_ordered_by_count_and_cut(tmp_path):
    counts = Counter({"z": 5, "b": 2, "a": 2, "once": 1, "<eos>": 9, "<unk>": 1})
    assert Vocabulary.from_counts(counts).tokens == ["<eos>", "<unk>", "z", "a", "b", "once"]
    vocabulary = Vocabulary.from_counts(counts, min_count=2)
    assert vocabulary.tokens == ["<eos>", "<unk>", "z", "a", "b"]
    vocabulary.write(tmp_path / "tokens.txt")
    again = Vocabulary.read(tmp_path / "tokens.txt")
    assert again.tokens == vocabulary.tokens
    assert again.encode([["z", "once"]]).tolist() == [2, again.unknown, again.eos]


def test_bad_vocabularies_are_refused(tmp_path):
    with pytest.raises(DataError, match="no vocabulary; run stage 1"):
        Vocabulary.read(tmp_path / "absent")
    (tmp_path / "tokens.txt").write_text("<eos>\na\na\n<unk>\n")
    with pytest.raises(DataError, match=r"tokens.txt: vocabulary: 'a' occurs twice"):
        Vocabulary.read(tmp_path / "tokens.txt")
    with pytest.raises(DataError, match="no <unk>"):
        Vocabulary(["<eos>", "a"])


# ---- columns and lengths --------------------------------------------------------


def test_columns_are_contiguous_and_each_token_is_a_target_once():
    tokens = np.arange(100, 123)  # 23 tokens, 4 columns of 5, 3 left out
    loader = TextLoader(tokens, batch_size=4, bptt=7, seed=1, eos=9)
    inputs = torch.cat([batch.inputs for batch in loader.epoch(1)])
    targets = torch.cat([batch.targets for batch in loader.epoch(1)])
    assert targets.t().flatten().tolist() == list(range(100, 120))
    assert inputs.t().flatten().tolist() == [9, *range(100, 119)]


def test_lengths_are_drawn_as_published():
    lengths = sequence_lengths(1_000_000, bptt=70, seed=1, epoch=1)
    assert sum(lengths) == 1_000_000
    short = [length for length in lengths if length < 52]
    long = np.array([length for length in lengths if length >= 52])
    assert 0.04 < len(short) / len(lengths) < 0.06
    assert 69 < long.mean() < 70 and 4.8 < long.std() < 5.2  # int() cuts off half a token on average
    assert 33.5 < np.mean(short) < 35.5
    assert min(sequence_lengths(100_000, bptt=8, seed=1, epoch=1)[:-1]) == 5


def test_lengths_are_a_function_of_seed_and_epoch():
    assert sequence_lengths(5000, 70, 1, 1) == sequence_lengths(5000, 70, 1, 1)
    assert sequence_lengths(5000, 70, 1, 1) != sequence_lengths(5000, 70, 1, 2)
    assert sequence_lengths(5000, 70, 1, 1) != sequence_lengths(5000, 70, 2, 1)


def test_an_epoch_can_be_entered_at_any_batch():
    loader = TextLoader(np.arange(3000), batch_size=3, bptt=30, seed=5, eos=0)
    whole = list(loader.epoch(2))
    assert len(whole) == loader.batches_of(2)
    assert abs(len(loader) - len(whole)) <= 4
    for start in (1, 7, len(whole)):
        rest = list(loader.epoch(2, start))
        assert len(rest) == len(whole) - start
        for one, other in zip(rest, whole[start:], strict=True):
            assert torch.equal(one.inputs, other.inputs)
            assert one.starts_text is other.starts_text is False
    assert whole[0].starts_text


def test_the_learning_rate_follows_the_length():
    loader = TextLoader(np.arange(9000), batch_size=2, bptt=40, seed=1, eos=0)
    for batch in loader.epoch(1):
        assert batch.learning_rate_scale == pytest.approx(batch.inputs.size(0) / 40)
        assert len(batch) == batch.inputs.numel()


def test_a_text_shorter_than_its_columns_is_refused():
    with pytest.raises(DataError, match="3 tokens does not fill 4 columns; lower batch_size"):
        TextLoader(np.arange(3), batch_size=4, bptt=7, seed=1, eos=0)
