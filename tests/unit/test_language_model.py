"""The AWD-LSTM network against an LSTM written out step by step."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional

from cascade_asr.errors import ConfigError
from cascade_asr.lm.batches import TextBatch
from cascade_asr.lm.dropout import keep_mask
from cascade_asr.lm.objective import LanguageModel
from cascade_asr.lm.recurrent import DropConnectLSTM, pack
from cascade_asr.networks.fast.cross_entropy import softmax_cross_entropy
from cascade_asr.training.freezing import freeze, set_training_mode, take_over

V, E, H, T, B = 11, 6, 8, 9, 3
SIZES = {"vocabulary_size": V, "embedding_size": E, "hidden_size": H, "num_layers": 3}
NO_DROPOUT = dict.fromkeys(
    ("embedding_dropout", "input_dropout", "hidden_dropout", "output_dropout", "weight_drop"), 0.0
)


def make_model(**options) -> LanguageModel:
    torch.manual_seed(1)
    return LanguageModel(**(SIZES | options)).double()


def make_batch(starts_text: bool = True, seed: int = 2, length: int = T) -> TextBatch:
    generator = torch.Generator().manual_seed(seed)
    words = torch.randint(V, (length + 1, B), generator=generator)
    return TextBatch(words[:-1], words[1:], starts_text, 1.0)


def step_by_step(inputs, state, weight_ih, weight_hh, bias_ih, bias_hh):
    """An LSTM by its equations: gates in, forget, cell, out."""
    (hidden,), (cell,) = state
    outputs = []
    for frame in inputs:
        gates = frame @ weight_ih.t() + bias_ih + hidden @ weight_hh.t() + bias_hh
        enter, forget, candidate, leave = gates.chunk(4, dim=1)
        cell = torch.sigmoid(forget) * cell + torch.sigmoid(enter) * torch.tanh(candidate)
        hidden = torch.sigmoid(leave) * torch.tanh(cell)
        outputs.append(hidden)
    return torch.stack(outputs), (hidden.unsqueeze(0), cell.unsqueeze(0))


def reference_loss(model: LanguageModel, batch: TextBatch, state, masks: dict):
    """The whole objective from the equations, with the same masks."""
    weight = model.embedding.weight * masks["words"].unsqueeze(1)
    hidden = functional.embedding(batch.inputs, weight) * masks["input"]
    states = []
    for index, layer in enumerate(model.rnn):
        recurrent = layer.weight_hh_l0 * masks["drop_connect"][index]
        raw, after = step_by_step(
            hidden, state[index], layer.weight_ih_l0, recurrent, layer.bias_ih_l0, layer.bias_hh_l0
        )
        hidden = raw * masks["rnn"][index]
        states.append(after)
    logits = hidden @ model.softmax.weight.t() + model.softmax.bias
    log_probabilities = logits - logits.exp().sum(dim=2, keepdim=True).log()
    cross_entropy = -log_probabilities.gather(2, batch.targets.unsqueeze(2)).sum()
    penalty = 2.0 * (hidden**2).sum() / hidden.numel()
    change = raw[1:] - raw[:-1]
    penalty = penalty + 1.0 * (change**2).sum() / change.numel()
    return cross_entropy, cross_entropy + batch.targets.numel() * penalty, states


def watch_masks(model: LanguageModel) -> dict:
    """Note what each dropout of the model does, as the factor it applied."""
    masks: dict = {"drop_connect": {}, "rnn": {}, "calls": 0}

    def ratio(output, source):
        return torch.where(source == 0, 0.0, output / torch.where(source == 0, 1.0, source))

    def note_words(module, arguments, output):
        tokens, embedded, size = arguments
        found = torch.full((size,), 1.0, dtype=output.dtype)
        for token in tokens.unique():
            rows = (ratio(output, embedded)[tokens == token]).detach()
            # a word is dropped at all its places or at none
            torch.testing.assert_close(rows, rows[0, 0].expand_as(rows))
            found[token] = rows[0, 0]
        masks["words"] = found

    def note_drop_connect(index):
        def note(module, arguments, output):
            masks["calls"] += 1
            masks["drop_connect"][index] = ratio(output, arguments[0]).detach()

        return note

    def note_locked(key, index=None):
        def note(module, arguments, output):
            factors = ratio(output, arguments[0]).detach()
            factors = factors.amax(dim=0, keepdim=True)
            torch.testing.assert_close(output, arguments[0] * factors)  # the same at all times
            if index is None:
                masks[key] = factors
            else:
                masks[key][index] = factors

        return note

    model.embedding_dropout.register_forward_hook(note_words)
    model.input_dropout.register_forward_hook(note_locked("input"))
    for index, layer in enumerate(model.rnn):
        layer.drop_connect.register_forward_hook(note_drop_connect(index))
        model.rnn_dropout[index].register_forward_hook(note_locked("rnn", index))
    return masks


@pytest.mark.parametrize("tie_weights", [True, False])
def test_loss_gradients_and_state_are_those_of_the_equations(tie_weights):
    model = make_model(
        tie_weights=tie_weights, embedding_dropout=0.3, input_dropout=0.3, hidden_dropout=0.3,
        output_dropout=0.3, weight_drop=0.5,
    )  # fmt: skip
    masks = watch_masks(model)
    model.train()
    batch = make_batch()
    torch.manual_seed(3)
    loss, statistics = model(batch)
    found = torch.autograd.grad(loss, list(model.parameters()))
    cross_entropy, expected_loss, states = reference_loss(
        model, batch, model.initial_state(B), masks
    )
    torch.testing.assert_close(loss, expected_loss)
    assert float(statistics["loss"][0]) == pytest.approx(cross_entropy.item())
    assert statistics["loss"][1] == T * B
    expected = torch.autograd.grad(expected_loss, list(model.parameters()))
    for (name, _), one, other in zip(model.named_parameters(), found, expected, strict=True):
        torch.testing.assert_close(one, other, msg=name)
    for (hidden, cell), (other_hidden, other_cell) in zip(
        model.training_state(), states, strict=True
    ):
        torch.testing.assert_close(hidden, other_hidden.detach())
        torch.testing.assert_close(cell, other_cell.detach())


def test_recurrent_weights_are_dropped_once_a_sequence_and_scaled():
    model = make_model(weight_drop=0.5)
    masks = watch_masks(model)
    model.train()
    torch.manual_seed(4)
    model(make_batch())
    assert masks["calls"] == 3  # one mask a layer, for all T tokens
    first = dict(masks["drop_connect"])
    for mask in first.values():
        assert set(mask.unique().tolist()) == {0.0, 2.0}
        assert 0.3 < (mask == 0).double().mean() < 0.7
    model(make_batch())
    assert all((masks["drop_connect"][index] != first[index]).any() for index in first)
    assert model.rnn[0].weight_hh_l0.abs().min() > 0  # the parameters stay whole


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.65, 1.0])
def test_masks_drop_as_many_as_they_should_and_keep_the_mean(p):
    torch.manual_seed(8)
    mask = keep_mask((301, 333), p, torch.zeros(1, dtype=torch.float64))
    assert mask.shape == (301, 333) and mask.dtype == torch.float64
    dropped = float((mask == 0).double().mean())
    assert abs(dropped - p) < 4 * (p * (1 - p) / mask.numel()) ** 0.5 + 1e-12  # 4 deviations
    kept = mask[mask != 0]
    torch.testing.assert_close(kept, torch.full_like(kept, 1 / (1 - p) if p < 1 else 0.0))
    neighbours = (mask[:, 1:] == 0).double() * (mask[:, :-1] == 0).double()
    assert abs(float(neighbours.mean()) - p * p) < 0.01  # independent of each other


def test_nothing_is_dropped_in_evaluation():
    model = make_model(weight_drop=0.9, input_dropout=0.9, output_dropout=0.9).eval()
    plain = make_model(**NO_DROPOUT).train()
    plain.load_state_dict(model.state_dict())
    batch = make_batch()
    raw, dropped, _ = model.outputs(batch.inputs, model.initial_state(B))
    expected, _, _ = plain.outputs(batch.inputs, plain.initial_state(B))
    torch.testing.assert_close(raw, expected, rtol=0, atol=0)
    assert raw is dropped


def test_without_dropout_a_layer_is_pytorchs_lstm():
    torch.manual_seed(5)
    layer, plain = DropConnectLSTM(E, H), nn.LSTM(E, H)
    assert layer.state_dict().keys() == plain.state_dict().keys()
    plain.load_state_dict(layer.state_dict())
    inputs, state = torch.randn(T, B, E), (torch.randn(1, B, H), torch.randn(1, B, H))
    output, after = layer(inputs, state)
    expected, expected_after = plain(inputs, state)
    torch.testing.assert_close((output, after), (expected, expected_after), rtol=0, atol=0)


def test_hidden_state_goes_on_from_batch_to_batch_without_its_gradient():
    model = make_model(**NO_DROPOUT).train()
    long = make_batch(length=8)
    first = TextBatch(long.inputs[:5], long.targets[:5], True, 1.0)
    second = TextBatch(long.inputs[5:], long.targets[5:], False, 1.0)
    _, statistics = model(long)
    parts = [model(first)[1]["loss"][0], model(second)[1]["loss"][0]]
    torch.testing.assert_close(sum(parts), statistics["loss"][0])
    assert not any(each.requires_grad for pair in model.training_state() for each in pair)
    _, again = model(TextBatch(second.inputs, second.targets, True, 1.0))
    assert abs(float(again["loss"][0] - parts[1])) > 1e-4  # a text that starts forgets the state


def test_a_saved_hidden_state_is_the_same_after_loading():
    model, other = make_model().train(), make_model().train()
    model(make_batch())
    other.load_training_state(model.training_state())
    second = make_batch(starts_text=False, seed=7)
    torch.manual_seed(1)
    loss, _ = model(second)
    torch.manual_seed(1)
    other_loss, _ = other(second)
    assert loss.item() == other_loss.item()


def test_penalties_have_the_values_of_their_formulas():
    model = make_model(activation_regularization=2.0, temporal_activation_regularization=3.0)
    raw = torch.tensor([[[1.0, 2.0]], [[3.0, 5.0]]])  # T=2, B=1, E=2
    dropped = torch.tensor([[[2.0, 0.0]], [[6.0, 0.0]]])
    # alpha (4 + 36)/4 + beta (2^2 + 3^2)/2
    assert model.penalties(raw, dropped).item() == pytest.approx(2 * 10 + 3 * 6.5)
    one_token = model.penalties(raw[:1], dropped[:1]).item()
    assert one_token == pytest.approx(2 * 2.0)  # no change to punish


def test_weights_are_tied_in_value_and_gradient():
    tied = make_model(tie_weights=True)
    assert tied.softmax.weight is tied.embedding.weight
    assert "softmax.weight" not in dict(tied.named_parameters())
    assert [layer.hidden_size for layer in tied.rnn] == [H, H, E]


def test_a_tied_state_fills_an_untied_model():
    tied, untied = make_model(tie_weights=True), make_model(tie_weights=False)
    untied.load_state_dict(tied.state_dict())
    batch = make_batch()
    for model in (tied, untied):
        model.eval()
    torch.testing.assert_close(tied(batch)[0], untied(batch)[0], rtol=0, atol=0)
    assert untied.softmax.weight.data_ptr() != untied.embedding.weight.data_ptr()
    with torch.no_grad():
        untied.softmax.weight.add_(1.0)
    assert not torch.equal(untied.softmax.weight, untied.embedding.weight)


def test_tied_weights_of_different_widths_are_refused():
    with pytest.raises(ConfigError, match=r"output_size \(7\) = embedding_size \(6\)"):
        make_model(output_size=7)
    assert make_model(output_size=7, tie_weights=False).softmax.in_features == 7


# ---- layers -----------------------------------------------------------------


@pytest.mark.parametrize("tie_weights", [True, False])
@pytest.mark.parametrize("tying", [None, "freeze", "train"])
def test_each_parameter_is_in_exactly_one_layer(tie_weights, tying):
    model = make_model(tie_weights=tie_weights)
    layers = model.layers(tying)
    owned = [name for layer in layers for name in layer.parameters]
    assert sorted(owned) == sorted(name for name, _ in model.named_parameters())
    assert all(layer.parameters for layer in layers)
    dropouts = [name for layer in layers for name in layer.dropouts]
    assert sorted(dropouts) == sorted(
        ["embedding_dropout", "input_dropout"]
        + [f"rnn.{i}.drop_connect" for i in range(3)]
        + [f"rnn_dropout.{i}" for i in range(3)]
    )
    assert all(name in dict(model.named_modules()) for name in dropouts)


def names(model: LanguageModel, tying: str | None = None) -> dict[str, tuple[str, ...]]:
    return {layer.name: layer.parameters for layer in model.layers(tying)}


def test_the_shared_matrix_goes_with_top_or_bottom():
    tied = make_model(tie_weights=True)
    recurrent = ["rnn.0", "rnn.1", "rnn.2"]
    assert list(names(tied, "freeze")) == [*recurrent, "softmax"]
    assert names(tied, "freeze")["softmax"] == ("embedding.weight", "softmax.bias")
    assert tied.layers("freeze")[-1].aliases == ("embedding",)
    assert list(names(tied, "train")) == ["embedding", *recurrent, "softmax"]
    assert names(tied, "train")["embedding"] == ("embedding.weight",)
    assert names(tied, "train")["softmax"] == ("softmax.bias",)
    untied = names(make_model(tie_weights=False))
    assert untied["embedding"] == ("embedding.weight",)
    assert untied["softmax"] == ("softmax.weight", "softmax.bias")
    assert untied["rnn.1"][:2] == ("rnn.1.weight_ih_l0", "rnn.1.weight_hh_l0")


def test_a_frozen_classifier_keeps_the_source_and_only_the_rest_gets_gradients():
    source, model = make_model(tie_weights=True), LanguageModel(**SIZES).double()
    top = model.layers("freeze")[-1]
    take_over(model, source.state_dict(), [top])
    frozen = freeze(model, [top])
    assert frozen == ["embedding.weight", "softmax.bias"]
    torch.testing.assert_close(model.softmax.weight, source.softmax.weight, rtol=0, atol=0)
    set_training_mode(model, [top], frozen_dropout=False)
    assert not model.embedding_dropout.training and model.rnn[0].drop_connect.training
    loss, _ = model(make_batch())
    loss.backward()
    with_gradient = {name for name, each in model.named_parameters() if each.grad is not None}
    assert with_gradient == {name for name, _ in model.named_parameters()} - set(frozen)


# ---- cross entropy in blocks -----------------------------------------------------


@pytest.mark.parametrize("tokens", [1, 63, 64, 65, 200])
@pytest.mark.parametrize("frozen", [False, True])
def test_cross_entropy_in_blocks_is_pytorchs(tokens, frozen):
    torch.manual_seed(9)
    hidden = torch.randn(tokens, E, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(V, E, dtype=torch.float64, requires_grad=not frozen)
    bias = torch.randn(V, dtype=torch.float64, requires_grad=not frozen)
    targets = torch.randint(V, (tokens,))
    wanted = [hidden] if frozen else [hidden, weight, bias]
    loss = softmax_cross_entropy(hidden, weight, bias, targets)
    logits = functional.linear(hidden, weight, bias)
    expected = functional.cross_entropy(logits, targets, reduction="sum")
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(
        torch.autograd.grad(3.0 * loss, wanted), torch.autograd.grad(3.0 * expected, wanted)
    )
    with torch.no_grad():
        torch.testing.assert_close(softmax_cross_entropy(hidden, weight, bias, targets), expected)


# ---- fused kernels ------------------------------------------------------------


def test_packed_weights_lie_in_one_block_and_pass_gradients():
    torch.manual_seed(6)
    weights = [torch.randn(shape, requires_grad=True) for shape in ((4, 3), (4, 2), (4,), (4,))]
    packed = pack(*weights)
    starts = [each.data_ptr() - packed[0].data_ptr() for each in packed]
    assert starts == [0, 12 * 4, 20 * 4, 24 * 4]
    torch.testing.assert_close(packed, [each.detach() for each in weights])
    gradients = [torch.randn_like(each) for each in weights]
    torch.autograd.backward(packed, gradients)
    torch.testing.assert_close([each.grad for each in weights], gradients)


@pytest.mark.parametrize(
    "device",
    ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(
        not torch.cuda.is_available(), reason="no GPU"))],
)  # fmt: skip
def test_training_warns_of_nothing(device):
    model = LanguageModel(**SIZES).to(device).train()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for starts_text in (True, False):
            loss, _ = model(make_batch(starts_text).to(device))
            loss.backward()
