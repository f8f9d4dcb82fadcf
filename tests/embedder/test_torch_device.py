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
from embedder.encoders.torch_device import FIRST_BATCH, TorchDevice


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


def test_what_does_not_fit_before_the_network_is_done_in_halves() -> None:
    def prepare(part: Tensor) -> Tensor:
        alive.append(len(part))
        if len(alive) == 3 or len(part) > 5:
            alive.clear()
            raise torch.OutOfMemoryError("out of memory")
        return part

    alive: list[int] = []
    parts = [np.full((2, 3), number, np.float32) for number in range(4)]
    (doubled, _) = TorchDevice("cpu").run(network_with_room_for(50, []), parts, prepare)
    assert np.array_equal(doubled, 2 * np.concatenate(parts))
    with pytest.raises(EncoderError, match="does not hold a single video"):
        TorchDevice("cpu").run(network_with_room_for(50, []), [np.zeros((6, 3), np.float32)], prepare)


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> TorchDevice:
    """A CPU that tells of its memory as a CUDA device does: 100 MB are free, each row of a batch takes 1 MB."""
    device = TorchDevice("cpu")
    device.is_cuda, device._measured, device._batch = True, False, FIRST_BATCH
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 0)
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: None)
    monkeypatch.setattr(torch.cuda, "max_memory_allocated", lambda device: FIRST_BATCH * 2**20)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (100 * 2**20, 200 * 2**20))
    return device


def test_batches_are_as_large_as_the_free_memory_allows(pretended: TorchDevice) -> None:
    batches: list[int] = []
    pretended.run(network_with_room_for(1000, batches), [np.zeros((400, 2), np.float32)])
    assert batches == [FIRST_BATCH, 64, 64, 64, 64, 64, 64], "0.7 of what is free, down to a power of two"


def test_a_call_is_several_batches_so_that_copies_overlap_with_the_network(pretended: TorchDevice) -> None:
    batches: list[int] = []
    for _ in range(2):
        pretended.run(network_with_room_for(1000, batches), [np.zeros((16, 2), np.float32)] * 8)
    assert batches[-4:] == [32, 32, 32, 32]


def test_a_device_that_is_not_there_is_told_in_a_line() -> None:
    if torch.cuda.is_available():
        return
    with pytest.raises(EncoderError, match="no CUDA device here"):
        TorchDevice("cuda")


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
