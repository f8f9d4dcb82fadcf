"""The training of `recommender.graph`, in torch: on CUDA where there is one, else on the CPU.

Every step walks the whole graph, so that steps are few and large. Importing it imports torch (seconds): only
`fit_graph` does.
"""

import math
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from recommender.graph import GraphSettings
from recommender.torch_training import device_for, precision_for, sampled_softmax


def train(
    positives: sp.csr_matrix, settings: GraphSettings, told: Callable[[dict[str, Any]], None]
) -> tuple[np.ndarray, np.ndarray]:
    """The items and sent of GraphFactors; see `fit_graph`."""
    device = device_for(settings.device)
    precision = precision_for(settings.precision, device)
    likes = (positives > 0).tocoo()
    viewers, videos = likes.shape
    audience = np.bincount(likes.col, minlength=videos)
    graph = _graph(likes).to(device)
    viewer, video = (torch.from_numpy(ends.astype(np.int64)).to(device) for ends in (likes.row, likes.col))
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(settings.seed)
        first = (torch.randn(viewers + videos, settings.factors) * 0.1).to(device).requires_grad_()
        optimizer = torch.optim.Adam([first], lr=settings.learning_rate, fused=True)
        started = time.monotonic()
        # Of a single video there is nothing to tell.
        for epoch in range(settings.epochs if likes.nnz and videos > 1 else 0):
            total = torch.zeros((), device=device)
            for batch in torch.randperm(likes.nnz, device=device).split(settings.batch_likes):
                optimizer.zero_grad(set_to_none=True)
                nodes = torch.stack(_layers(graph, first, settings.layers)).mean(0)
                asked, liked = viewer[batch], video[batch]
                loss = sampled_softmax(nodes[asked], nodes[viewers:], liked, settings.negatives, precision)
                size = (first[asked].square().sum() + first[viewers + liked].square().sum()) / len(batch)
                (loss + settings.regularization * size).backward()
                optimizer.step()
                total += loss.detach() * len(batch)
            mean = float(total) / likes.nnz
            if not math.isfinite(mean):
                raise ArithmeticError("the graph's loss does not stay finite; lower its learning_rate")
            seconds = time.monotonic() - started
            told({"epoch": epoch + 1, "loss": mean, "seconds": round(seconds, 1)})
            if settings.budget_s is not None and seconds >= settings.budget_s:
                break
    with torch.inference_mode():
        layers = torch.stack(_layers(graph, first, settings.layers))[:, viewers:].cpu().numpy()
    met = (audience > 0)[:, None]
    # A viewer's layer k comes of the videos' layer k - 1: their last layer reaches nobody.
    sent = layers[:-1].sum(axis=0) / (len(layers) * np.sqrt(np.maximum(audience, 1)))[:, None]
    return (layers.mean(axis=0) * met).astype(np.float32), (sent * met).astype(np.float32)


def _graph(likes: sp.coo_matrix) -> Tensor:
    """(U + V, U + V) sparse: viewers and videos, an edge per like, divided by the roots of both ends' degrees."""
    viewers, videos = likes.shape
    ends = np.concatenate([likes.row, viewers + likes.col]), np.concatenate([viewers + likes.col, likes.row])
    degree = np.bincount(ends[0], minlength=viewers + videos)
    values = 1 / np.sqrt(degree[ends[0]] * degree[ends[1]])
    graph = sp.csr_matrix((values.astype(np.float32), ends), (viewers + videos, viewers + videos))
    with warnings.catch_warnings():
        # torch calls its CSR tensors a beta; products with them are all that is used here.
        warnings.filterwarnings("ignore", "Sparse CSR tensor support")
        return torch.sparse_csr_tensor(
            torch.from_numpy(graph.indptr.astype(np.int64)),
            torch.from_numpy(graph.indices.astype(np.int64)),
            torch.from_numpy(graph.data),
            graph.shape,
            check_invariants=False,
        )


def _layers(graph: Tensor, first: Tensor, count: int) -> list[Tensor]:
    layers = [first]
    for _ in range(count):
        layers.append(_Propagate.apply(graph, layers[-1]))
    return layers


class _Propagate(torch.autograd.Function):
    """graph @ x for a symmetric graph, whose gradient is the same product: torch's own would transpose it anew."""

    @staticmethod
    def forward(ctx: Any, graph: Tensor, x: Tensor) -> Tensor:
        ctx.graph = graph
        return graph @ x

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[None, Tensor]:
        return None, ctx.graph @ upstream[0].contiguous()
