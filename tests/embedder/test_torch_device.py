"""Batches that do not fit are halved until they do, and no row is lost or moved on the way."""

import shutil
from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from embedder.encoders import EncoderError
from embedder.encoders.torch_device import TorchDevice


def network_with_room_for(rows: int, batches: list[int]) -> Callable[[Tensor], tuple[Tensor, ...]]:
    """Twice its input, and its sum; out of memory beyond some rows, as a device is."""

    def network(batch: Tensor) -> tuple[Tensor, ...]:
        if len(batch) > rows:
            raise torch.OutOfMemoryError("out of memory")
        batches.append(len(batch))
        return 2 * batch, batch.sum(dim=1)

    return network


@given(
    lengths=st.lists(st.integers(1, 40), min_size=1, max_size=8),
    rows=st.integers(1, 50),
)
def test_every_row_comes_back_in_its_place(lengths: list[int], rows: int) -> None:
    parts = [
        np.full((n, 3), number, np.float32) + np.arange(n, dtype=np.float32)[:, None]
        for number, n in enumerate(lengths)
    ]
    batches: list[int] = []
    doubled, sums = TorchDevice("cpu").run(network_with_room_for(rows, batches), parts)
    whole = np.concatenate(parts)
    assert np.array_equal(doubled, 2 * whole) and np.array_equal(sums, whole.sum(axis=1))
    assert max(batches) <= rows and sum(batches) == len(whole)


def test_a_size_that_fitted_is_kept() -> None:
    batches: list[int] = []
    device = TorchDevice("cpu")
    for _ in range(2):
        device.run(network_with_room_for(5, batches), [np.zeros((16, 2), np.float32)])
    assert batches == [4, 4, 4, 4] * 2


def test_a_device_without_room_for_one_row_says_so() -> None:
    with pytest.raises(EncoderError, match="does not hold a single row"):
        TorchDevice("cpu").run(network_with_room_for(0, []), [np.zeros((3, 2), np.float32)])


def test_parts_of_different_sizes_are_prepared_to_one() -> None:
    parts = [np.ones((2, 4, 4), np.uint8), np.ones((3, 6, 8), np.uint8)]
    (means,) = TorchDevice("cpu").run(
        lambda batch: (batch.mean(dim=(1, 2)),), parts, lambda part: part[:, :4, :4].float()
    )
    assert np.array_equal(means, np.ones(5, np.float32))


@pytest.mark.skipif(shutil.which("g++") is None, reason="compiling for a CPU needs g++, which is not installed")
def test_a_compiled_network_computes_the_same_and_is_compiled_once_for_all_sizes() -> None:
    def network(batch: Tensor) -> tuple[Tensor, ...]:
        return torch.tanh(batch @ weights), batch.sum(dim=1)

    weights = torch.randn(8, 3, generator=torch.Generator().manual_seed(1))
    plain, compiled = TorchDevice("cpu"), TorchDevice("cpu", compiled=True)
    fast = compiled.prepared(network)
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    for rows in (1, 7, 16, 16 + 1, 40):
        parts = [np.random.default_rng(rows).normal(size=(rows, 8)).astype(np.float32)]
        for expected, got in zip(plain.run(network, parts), compiled.run(fast, parts), strict=True):
            assert got.shape == expected.shape and np.allclose(got, expected, atol=1e-6)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == 1
    assert plain.prepared(network) is network and plain.name != compiled.name
