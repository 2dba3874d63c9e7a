"""Token lists: characters, symbols, pieces; there and back; broken lists."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cascade_asr.data.sets import write_set
from cascade_asr.data.tokens import (
    BPEMODES,
    Tokenizer,
    read_symbols,
    read_token_list,
    train_bpe,
    write_char_list,
    write_token_directory,
)
from cascade_asr.errors import ConfigError, DataError

TEXTS = ["BAD CAB <NOISE>", "A BA", "DÉJÀ"]


def symbols(folder: Path, *names: str) -> Path:
    path = folder / "symbols.txt"
    path.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    return path


def sentences(count: int = 300) -> list[str]:
    choose = random.Random(0)
    syllables = ["ka", "lo", "mi", "ten", "sur", "pa", "rin", "do", "vel", "qu"]
    words = ["".join(choose.choices(syllables, k=choose.randint(1, 3))) for _ in range(80)]
    return [" ".join(choose.choices(words, k=choose.randint(3, 8))) for _ in range(count)]


def test_characters_are_listed_by_frequency_between_the_special_tokens(tmp_path: Path):
    tokenizer = write_token_directory(tmp_path, ["BAD CAB", "A BA"], "char")
    assert tokenizer.tokens == ["<blank>", "<unk>", "A", "B", "<space>", "C", "D", "<sos/eos>"]
    assert (tmp_path / "tokens.txt").read_text().splitlines() == tokenizer.tokens
    assert tokenizer.encode("BAD CAB") == [3, 2, 6, 4, 5, 2, 3]
    assert tokenizer.decode([3, 2, 6, 4, 5, 2, 3]) == "BAD CAB"


def test_a_symbol_is_one_token_and_its_letters_do_not_count(tmp_path: Path):
    tokenizer = write_token_directory(
        tmp_path / "tokens", TEXTS, "char", non_linguistic_symbols=symbols(tmp_path, "<NOISE>")
    )
    assert "<NOISE>" in tokenizer.tokens
    assert not {"N", "O", "<", ">", "E"} & set(tokenizer.tokens)
    ids = tokenizer.encode("A <NOISE> B")
    assert [tokenizer.tokens[index] for index in ids] == ["A", "<space>", "<NOISE>", "<space>", "B"]
    assert tokenizer.decode(ids) == "A <NOISE> B"
    again = Tokenizer.from_directory(tmp_path / "tokens")
    (tmp_path / "symbols.txt").unlink()  # the folder has its own copy
    assert again.encode("A <NOISE> B") == ids


def test_special_tokens_among_the_symbols_are_listed_once(tmp_path: Path):
    """Corpora write <unk> for words that were not understood."""
    tokenizer = write_token_directory(
        tmp_path / "tokens", ["AB <unk>", "<space> A"], "char",
        non_linguistic_symbols=symbols(tmp_path, "<unk>", "<space>", "<blank>", "<sos/eos>"),
    )  # fmt: skip
    assert tokenizer.tokens == ["<blank>", "<unk>", "<space>", "A", "B", "<sos/eos>"]
    assert tokenizer.encode("A <unk>") == [3, 2, 1]


def test_what_the_list_lacks_is_unknown(tmp_path: Path):
    tokenizer = write_token_directory(tmp_path, ["AB"], "char")
    assert tokenizer.encode("AXB ") == [2, 1, 3, 1]  # X and the space
    assert tokenizer.decode([2, 1, 3]) == "A<unk>B"


def test_decoding_leaves_blanks_and_edges_out(tmp_path: Path):
    tokenizer = write_token_directory(tmp_path, ["AB"], "char")
    assert tokenizer.decode([0, 4, 2, 0, 0, 3, 4, 4]) == "AB"
    assert tokenizer.decode([]) == ""


@settings(max_examples=100, deadline=None)
@given(st.text(alphabet="ab' éß漢\u3000\u2028\x85-", max_size=30))
def test_known_characters_survive_the_round_trip(tmp_path_factory, text: str):
    folder = tmp_path_factory.getbasetemp() / "roundtrip"
    if not folder.exists():
        write_token_directory(folder, ["ab' éß漢\u3000\u2028\x85-"], "char")
    tokenizer = Tokenizer.from_directory(folder)
    assert 1 not in tokenizer.encode(text)
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_pieces_go_there_and_back_and_are_the_same_every_time(tmp_path: Path):
    texts = sentences()
    tokenizers, files = [], []
    for _ in range(2):
        tokenizers.append(write_token_directory(tmp_path, texts, "bpe", 60))
        files.append({path.name: path.read_bytes() for path in tmp_path.iterdir()})
    assert files[0] == files[1]
    assert sorted(files[0]) == ["bpe.model", "tokens.json", "tokens.txt"]
    tokens = tokenizers[0].tokens
    assert len(tokens) == 62  # 60 pieces of which one is <unk>, <blank>, <sos/eos>
    assert (tokens[0], tokens[1], tokens[-1]) == ("<blank>", "<unk>", "<sos/eos>")
    for text in texts[:50]:
        ids = tokenizers[0].encode(text)
        assert 1 not in ids and len(ids) < 0.7 * len(text)
        assert tokenizers[0].decode(ids) == text
        assert tokenizers[1].encode(text) == ids


def test_symbols_are_whole_pieces(tmp_path: Path):
    texts = [f"{text} <NOISE>" for text in sentences()]
    tokenizer = write_token_directory(
        tmp_path / "t", texts, "bpe", 40, symbols(tmp_path, "<NOISE>")
    )
    ids = tokenizer.encode("kalo <NOISE> mi")
    assert ids.count(tokenizer.tokens.index("<NOISE>")) == 1
    assert json.loads((tmp_path / "t/tokens.json").read_text())["non_linguistic_symbols"] is None


def test_repeated_and_special_symbols_are_no_fault_for_pieces_either(tmp_path: Path):
    """As for characters: sentencepiece by itself ends with an internal error."""
    texts = [f"{text} <NOISE> <unk>" for text in sentences()]
    made = [
        write_token_directory(tmp_path / "t", texts, "bpe", 40, symbols(tmp_path, *names)).tokens
        for names in (("<NOISE>",), ("<NOISE>", "<unk>", "<NOISE>", "<blank>", "<sos/eos>"))
    ]
    assert made[0] == made[1]


@pytest.mark.parametrize(
    ("recognised", "text"),
    [
        ("▁ka <NOISE> ▁lo", "ka <NOISE> lo"),  # the piece of the word boundary is missing
        ("▁ka ▁ <NOISE> lo", "ka <NOISE> lo"),
        ("<NOISE> <NOISE>", "<NOISE> <NOISE>"),
        ("▁ <NOISE> ▁ <NOISE> ▁", "<NOISE> <NOISE>"),
        ("▁ka <unk> ▁lo", "ka <unk> lo"),  # sentencepiece prints " ⁇ "
        ("▁ka lo", "kalo"),
    ],
)
def test_symbols_and_what_is_unknown_are_words_of_their_own(
    recognised: str, text: str, tmp_path: Path
):
    """Scoring leaves out whole words: kalo<NOISE> would be an error in both."""
    texts = ["ka lo", "kalo <NOISE>", "ka ka lo lo"] * 20
    made = write_token_directory(tmp_path / "t", texts, "bpe", 10, symbols(tmp_path, "<NOISE>"))
    for tokenizer in (made, Tokenizer.from_directory(tmp_path / "t")):
        pieces = [piece for piece in recognised.split() for piece in _known(piece, tokenizer)]
        assert tokenizer.decode(map(tokenizer.tokens.index, pieces)) == text


def _known(piece: str, tokenizer: Tokenizer) -> list[str]:
    """The piece, or its characters where it was not learned."""
    return [piece] if piece in tokenizer.tokens else list(piece)


def test_a_symbol_beside_letters_is_a_word(tmp_path: Path):
    tokenizer = write_token_directory(
        tmp_path / "t", ["AB <NOISE> B"], "char", non_linguistic_symbols=symbols(tmp_path, "<NOISE>")
    )
    recognised = ["A", "B", "<NOISE>", "B", "<space>", "A"]
    assert tokenizer.decode(map(tokenizer.tokens.index, recognised)) == "AB <NOISE> B A"


def test_a_vocabulary_too_large_for_the_text_is_told(tmp_path: Path):
    with pytest.raises(
        DataError, match="sentencepiece cannot train 4000 pieces: .*(4000|too high)"
    ):
        train_bpe(sentences(20), tmp_path, 4000)


@pytest.mark.parametrize(
    "lines, message",
    [
        (
            ["<blank>", "<unk>", "a", "b", "a", "<sos/eos>"],
            r"tokens.txt:5: token 'a' is also on line 3",
        ),
        (["<unk>", "<blank>", "a", "<sos/eos>"], r"tokens.txt: the first token must be <blank>"),
        (["<blank>", "<unk>", "a"], r"tokens.txt: the last token must be <sos/eos>"),
        (["<blank>", "a", "<sos/eos>"], r"tokens.txt: the list has no <unk>"),
        (["<blank>", "<unk>", "", "", "<sos/eos>"], r"tokens.txt:4: token '' is also on line 3"),
        ([], r"tokens.txt: the first token must be <blank>"),
    ],
)
def test_a_broken_list_is_told_with_its_line(tmp_path: Path, lines: list[str], message: str):
    path = tmp_path / "tokens.txt"
    path.write_text("".join(f"{line}\n" for line in lines))
    with pytest.raises(ConfigError, match=message):
        read_token_list(path)


def test_missing_files_say_what_to_run(tmp_path: Path):
    with pytest.raises(ConfigError, match=r"tokens.json: no tokens; run stage 2"):
        Tokenizer.from_directory(tmp_path)
    with pytest.raises(ConfigError, match=r"tokens.txt: no such token list; run stage 2"):
        read_token_list(tmp_path / "tokens.txt")
    (tmp_path / "tokens.txt").write_text("<blank>\n<unk>\na\n<sos/eos>\n")
    with pytest.raises(ConfigError, match="needs a sentencepiece model; not found: .*bpe.model"):
        Tokenizer(tmp_path / "tokens.txt", "bpe", bpe_model=tmp_path / "bpe.model")
    with pytest.raises(ConfigError, match="unknown token_type 'word'; expected char or bpe"):
        Tokenizer(tmp_path / "tokens.txt", "word")
    with pytest.raises(ConfigError, match="no such file of non-linguistic symbols"):
        Tokenizer(tmp_path / "tokens.txt", "char", tmp_path / "symbols")
    with pytest.raises(DataError, match="no text to collect characters from"):
        write_char_list([""], tmp_path / "x")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xef\xbb\xbf<noise>\n", "symbols.txt:1: the file begins with a byte order mark"),
        ("<a>\n<no\u00a0ise>\n".encode(), "symbols.txt:2: U\\+00A0 NO-BREAK SPACE in column 4"),
        ("<a>\n<b>\u200b\n".encode(), "symbols.txt:2: U\\+200B"),
        (b"<a>\r<b>\n", "symbols.txt:1: a carriage return"),
        (b"<a>\n\xff\n", "symbols.txt:2: not UTF-8"),
    ],
)
def test_odd_characters_among_the_symbols_are_named(tmp_path: Path, content: bytes, message: str):
    (tmp_path / "symbols.txt").write_bytes(content)
    with pytest.raises(ConfigError, match=message):
        read_symbols(tmp_path / "symbols.txt")


def test_symbols_with_windows_line_ends_are_read(tmp_path: Path):
    (tmp_path / "symbols.txt").write_bytes(b"<a>\r\n \t\r\n<b> \r\n")
    assert read_symbols(tmp_path / "symbols.txt") == ["<a>", "<b>"]


NOT_NORMALISED = ["cafe\u0301 noir", "\uff11\uff12 uhr", "\ufb01nal cut", "\u00bd litre", "wait\u2026 now"]


def test_pieces_spell_the_text_as_it_is_written(tmp_path: Path, caplog):
    """Accents, digits, ligatures and fractions are not changed."""
    texts = [*NOT_NORMALISED, *sentences(), "x\u00a0y"]
    tokenizer = write_token_directory(tmp_path, texts, "bpe", 60)
    for text in texts:
        assert tokenizer.decode(tokenizer.encode(text)) == text
    assert "pieces spell" not in caplog.text


def test_pieces_are_found_in_two_ways(tmp_path: Path):
    """Scores of a unigram model are log-probabilities; those of merges their places in the order."""
    import sentencepiece

    lists = {}
    for mode in BPEMODES:
        folder = tmp_path / mode
        tokenizer = write_token_directory(folder, sentences(), "bpe", 60, None, mode)
        assert tokenizer.decode(tokenizer.encode(sentences()[0])) == sentences()[0]
        lists[mode] = tokenizer.tokens
        assert len(tokenizer.tokens) == 62
        pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "bpe.model"))
        scores = [pieces.get_score(index) for index in range(1, 60)]
        assert all(score == int(score) for score in scores) == (mode == "bpe")
        content = json.loads((folder / "tokens.json").read_text())
        assert content.get("bpemode") == (None if mode == "unigram" else "bpe")
    assert set(lists["unigram"]) != set(lists["bpe"])


def test_long_lines_are_trained_on_too(tmp_path: Path):
    long = " ".join(["zebra"] * 2000)  # 12,000 bytes
    model, tokens = train_bpe([*sentences(), long], tmp_path, 40)
    assert any("z" in token for token in read_token_list(tokens))


def test_texts_that_pieces_cannot_spell_are_counted(tmp_path: Path, caplog):
    train_bpe([*sentences(), "a\u2581b"], tmp_path, 40)  # the pieces' own sign for a blank
    assert "1 of 301 texts differ from what their pieces spell" in caplog.text


def test_texts_that_a_normalising_model_changes_are_counted(tmp_path: Path, caplog):
    """An ESPnet2 model's pieces normalise; existing ones are used as they are."""
    import sentencepiece

    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences()), model_prefix=str(tmp_path / "bpe"), vocab_size=40,
        character_coverage=1.0, bos_id=-1, eos_id=-1, unk_piece="<unk>", minloglevel=2,
    )  # fmt: skip
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "bpe.model"))
    names = [pieces.id_to_piece(index) for index in range(1, pieces.get_piece_size())]
    lines = ["<blank>", "<unk>", *names, "<sos/eos>"]
    (tmp_path / "tokens.txt").write_text("".join(f"{line}\n" for line in lines))
    tokenizer = Tokenizer(tmp_path / "tokens.txt", "bpe", None, tmp_path / "bpe.model")
    known = sentences()[0]
    wide = "".join(chr(ord(each) + 0xFEE0) if each.islower() else each for each in known)
    for name, values in {
        "text": (known, wide), "utt2spk": ("s", "s"), "utt2num_frames": ("9", "9"),
        "feats.scp": ("x:1", "x:2"),
    }.items():  # fmt: skip
        (tmp_path / name).write_text(f"a {values[0]}\nb {values[1]}\n")
    write_set(tmp_path, tokenizer, required=True)
    assert "1 of 2 texts differ from what their tokens spell, such as that of b" in caplog.text
