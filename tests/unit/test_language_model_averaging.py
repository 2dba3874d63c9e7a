"""NT-ASGD against the algorithm written out, and against PyTorch's SGD."""

from __future__ import annotations

import io
import math

import pytest
import torch
from torch import nn

from cascade_asr.errors import ConfigError
from cascade_asr.training.averaging import NTASGD


def make_weights() -> list[nn.Parameter]:
    generator = torch.Generator().manual_seed(1)
    return [nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((3, 2), (4,))]


def update(optimizer: torch.optim.Optimizer, weights: list[nn.Parameter], number: int) -> None:
    generator = torch.Generator().manual_seed(100 + number)
    for weight in weights:
        weight.grad = torch.randn(weight.shape, generator=generator)
    optimizer.step()


def averaged(optimizer: NTASGD, weights: list[nn.Parameter]) -> list[torch.Tensor]:
    with optimizer.evaluation_weights():
        return [weight.detach().clone() for weight in weights]


def test_without_averaging_it_is_sgd_with_weight_decay():
    ours, theirs = make_weights(), make_weights()
    optimizer = NTASGD(ours, lr=0.3, weight_decay=0.01)
    sgd = torch.optim.SGD(theirs, lr=0.3, weight_decay=0.01)
    for number in range(5):
        update(optimizer, ours, number)
        update(sgd, theirs, number)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(averaged(optimizer, ours), [each.detach() for each in theirs])


def test_averages_are_those_of_a_loop():
    weights = make_weights()
    optimizer = NTASGD(weights, lr=0.3, weight_decay=0.01, nonmonotone_interval=1)
    reference = [weight.detach().clone() for weight in weights]
    after_trigger: list[list[torch.Tensor]] = []
    for number in range(12):
        optimizer.param_groups[0]["lr"] = rate = 0.3 + 0.01 * number  # of this very update
        update(optimizer, weights, number)
        generator = torch.Generator().manual_seed(100 + number)
        gradients = [torch.randn(each.shape, generator=generator) for each in reference]
        reference = [
            each - rate * (gradient + 0.01 * each)
            for each, gradient in zip(reference, gradients, strict=True)
        ]
        if optimizer.averaging:
            after_trigger.append(reference)
        if number == 4:
            assert [optimizer.after_epoch(metric) for metric in (1.0, 2.0, 3.0)][-1]
    assert len(after_trigger) == 7
    means = [torch.stack(each).mean(dim=0) for each in zip(*after_trigger, strict=True)]
    torch.testing.assert_close(averaged(optimizer, weights), means)
    torch.testing.assert_close([each.detach() for each in weights], reference)


def test_averaging_begins_where_algorithm_1_says():
    metrics = [9.0, 8.0, 7.0, 7.5, 7.2, 6.9, 7.1, 7.0, 7.3, 6.8]
    for interval in (1, 2, 3):
        optimizer = NTASGD(make_weights(), lr=1.0, nonmonotone_interval=interval)
        logs: list[float] = []
        expected = None
        for check, metric in enumerate(metrics):
            # algorithm 1: if t > n and v > min over logs[0 .. t-n-1]
            t = len(logs)
            if expected is None and t > interval and metric > min(logs[: t - interval]):
                expected = check
            logs.append(metric)
        begun = [optimizer.after_epoch(metric) for metric in metrics]
        assert begun.index(True) == expected
        assert sum(begun) == 1 and optimizer.averaging
    never = NTASGD(make_weights(), lr=1.0, nonmonotone_interval=2)
    assert not any(never.after_epoch(1.0 / n) for n in range(1, 30))


def test_a_metric_that_is_not_a_number_is_worse_than_any():
    optimizer = NTASGD(make_weights(), lr=1.0, nonmonotone_interval=1)
    begun = [optimizer.after_epoch(metric) for metric in (math.nan, 9.0, 8.0, 8.5)]
    assert begun == [False, False, False, False]
    assert optimizer.after_epoch(math.nan)  # worse than 8


def test_fine_tuning_averages_from_the_first_update():
    weights = make_weights()
    optimizer = NTASGD(weights, lr=0.3, average_from_start=True)
    seen = []
    for number in range(3):
        update(optimizer, weights, number)
        seen.append([weight.detach().clone() for weight in weights])
    means = [torch.stack(each).mean(dim=0) for each in zip(*seen, strict=True)]
    torch.testing.assert_close(averaged(optimizer, weights), means)


def test_training_goes_on_from_its_own_weights_even_after_an_error():
    weights = make_weights()
    optimizer = NTASGD(weights, lr=0.3, average_from_start=True)
    for number in range(3):
        update(optimizer, weights, number)
    before = [weight.detach().clone() for weight in weights]
    with pytest.raises(RuntimeError), optimizer.evaluation_weights():
        assert not torch.equal(weights[0], before[0])
        raise RuntimeError("evaluation failed")
    assert all(torch.equal(one, other) for one, other in zip(weights, before, strict=True))


def test_a_resumed_optimizer_is_bit_identical():
    whole, part = make_weights(), make_weights()
    optimizer = NTASGD(whole, lr=0.3, weight_decay=0.1, nonmonotone_interval=1)
    first = NTASGD(part, lr=0.3, weight_decay=0.1, nonmonotone_interval=1)
    for each, weights in ((optimizer, whole), (first, part)):
        for metric in (1.0, 2.0, 3.0):
            each.after_epoch(metric)
        for number in range(4):
            update(each, weights, number)
    saved = io.BytesIO()
    torch.save(first.state_dict(), saved)
    saved.seek(0)
    second = NTASGD(part, lr=0.3)
    second.load_state_dict(torch.load(saved, weights_only=True))
    for number in range(4, 8):
        update(optimizer, whole, number)
        update(second, part, number)
    assert second.param_groups[0]["checks"] == [1.0, 2.0, 3.0]
    for one, other in zip(whole + averaged(optimizer, whole), part + averaged(second, part),
                          strict=True):  # fmt: skip
        assert torch.equal(one, other)


def test_numbers_out_of_range_are_refused():
    with pytest.raises(ConfigError, match="lr is -1.0 .* nonmonotone_interval is 0"):
        NTASGD(make_weights(), lr=-1.0, nonmonotone_interval=0)
