"""A step of the beam search asks the device for values once, because each time it must wait.

No device is needed: tensors that it would hold are distinguished from those of the host by
where they come from, and the search takes the same path as on a device.
"""

from __future__ import annotations

import weakref
from itertools import pairwise

import pytest
import torch
from test_recognizer import TOKENS, model_of, tokenizer  # noqa: F401
from torch.overrides import TorchFunctionMode

from cascade_asr.data.tokens import Tokenizer
from cascade_asr.lm.awd_lstm import AWDLSTM
from cascade_asr.lm.corpus import Vocabulary
from cascade_asr.lm.scorer import LanguageModelScorer
from cascade_asr.networks import masking
from cascade_asr.speech.decode_config import DecodeConfig
from cascade_asr.speech.search import beam
from cascade_asr.speech.search.build import build_search

pytestmark = pytest.mark.filterwarnings("ignore")
WAITING = {"item", "tolist", "numpy", "cpu", "nonzero", "unique", "equal", "is_nonzero",
           "__bool__", "__int__", "__float__", "__index__", "__contains__"}  # fmt: skip


class Waits(TorchFunctionMode):
    """Counts how often values of the device are asked for.

    Attributes:
        count: the number so far.
    """

    def __init__(self, host: list[torch.Tensor]) -> None:
        super().__init__()
        self.count = 0
        self._host = {id(each): weakref.ref(each) for each in host}

    def __torch_function__(self, function, types, arguments=(), named=None):
        named = named or {}
        name = getattr(function, "__name__", "")
        tensors = list(_tensors((*arguments, *named.values())))
        on_device = [each for each in tensors if not self._is_on_host(each)]
        to_host = name == "to" and "cpu" in map(str, (*arguments[1:], *named.values()))
        by_mask = name in ("__getitem__", "masked_select") and any(
            each.dtype == torch.bool for each in tensors[1:]
        )
        if on_device and (name in WAITING or to_host or by_mask):
            self.count += 1
        found = function(*arguments, **named)
        made_here = not tensors and "device" not in named
        if made_here or to_host or name == "cpu" or (tensors and not on_device):
            for each in _tensors((found,)):
                self._host[id(each)] = weakref.ref(each)
        return found

    def _is_on_host(self, tensor: torch.Tensor) -> bool:
        known = self._host.get(id(tensor))
        return known is not None and known() is tensor


def _tensors(values):
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _tensors(value)


@torch.no_grad()
def waits_of_steps(
    tokenizer: Tokenizer,  # noqa: F811
    decoder: str,
    ctc_weight: float,
    with_language_model: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> list[int]:
    """How often each step of a search asks, including what it does with the answer."""
    monkeypatch.setattr(masking, "is_on_host", lambda tensor: False)
    model = model_of(tokenizer, 0.5, 1, decoder=decoder)
    language_model = None
    if with_language_model:
        network = AWDLSTM(len(TOKENS), embedding_size=4, hidden_size=5, num_layers=2)
        vocabulary = Vocabulary(TOKENS[1:] + TOKENS[:1], TOKENS[-1])
        language_model = LanguageModelScorer(network, vocabulary, TOKENS).eval()
    config = DecodeConfig(beam_size=3, ctc_weight=ctc_weight, maxlenratio=1.0,
                          lm_weight=0.5 * with_language_model, lm="none")  # fmt: skip
    search = build_search(model, config, language_model)
    generator = torch.Generator().manual_seed(1)
    encoder_output = torch.randn(4, 9, 8, generator=generator)
    lengths = torch.tensor([9, 7, 3, 6])  # texts end in different steps
    waits, before = Waits([lengths]), []
    advance = beam._Grid.advance

    def counted(grid):
        before.append(waits.count)
        return advance(grid)

    monkeypatch.setattr(beam._Grid, "advance", counted)
    with waits:
        assert all(search(encoder_output, lengths))
    return [later - earlier for earlier, later in pairwise([*before, waits.count])]


CASES = [("rnn", 0.3, True), ("transformer", 0.3, True), ("rnn", 0.0, False), ("rnn", 1.0, False),
         ("transformer", 0.0, False)]  # fmt: skip


@pytest.mark.parametrize(("decoder", "ctc_weight", "with_language_model"), CASES)
def test_a_step_asks_once(
    tokenizer: Tokenizer,  # noqa: F811
    decoder: str,
    ctc_weight: float,
    with_language_model: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waits = waits_of_steps(tokenizer, decoder, ctc_weight, with_language_model, monkeypatch)
    assert len(waits) >= 6
    assert set(waits) == {1}


def test_a_step_that_asks_twice_is_noticed(
    tokenizer: Tokenizer,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keep = beam._Grid._select

    def asks(grid, best, parents, tokens):
        assert int(parents.max()) < 3
        keep(grid, best, parents, tokens)

    monkeypatch.setattr(beam._Grid, "_select", asks)
    assert set(waits_of_steps(tokenizer, "rnn", 0.3, False, monkeypatch)) == {2}


@pytest.mark.parametrize("decoder", ["rnn", "transformer"])
@torch.no_grad()
def test_a_devices_way_of_searching_finds_the_same(
    tokenizer: Tokenizer,  # noqa: F811
    decoder: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = model_of(tokenizer, 0.5, 1, decoder=decoder)
    search = build_search(model, DecodeConfig(beam_size=3, ctc_weight=0.3, maxlenratio=0.9))
    generator = torch.Generator().manual_seed(1)
    encoder_output = torch.randn(5, 40, 8, generator=generator)
    lengths = torch.tensor([33, 40, 12, 31, 25])
    here = search(encoder_output, lengths)
    monkeypatch.setattr(masking, "is_on_host", lambda tensor: False)
    for ours, theirs in zip(here, search(encoder_output, lengths), strict=True):
        assert [each.tokens for each in ours] == [each.tokens for each in theirs]
        scores = [each.score for each in theirs]
        assert [each.score for each in ours] == pytest.approx(scores, abs=1e-4)
