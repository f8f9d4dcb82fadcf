"""What the models that torch trains share: where it computes, in which numbers, and a cross-entropy over many videos.

Importing it imports torch (seconds): only the training modules do.
"""

import math
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn import functional

#: Logits that are worked on at a time: on a CPU so few that they stay in its cache, on CUDA the more the better.
LOGITS_AT_ONCE = {"cpu": 2**20, "cuda": 2**28}


def device_for(wanted: Literal["auto", "cpu", "cuda"]) -> torch.device:
    """auto: CUDA where there is one. Raises ValueError when CUDA is wanted and not there."""
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ValueError("torch finds no CUDA device here: set device to auto or cpu")
    return torch.device("cuda" if wanted != "cpu" and torch.cuda.is_available() else "cpu")


def precision_for(wanted: Literal["auto", "bfloat16", "float32"], device: torch.device) -> torch.dtype:
    """auto: bfloat16 where matrix products in it are quicker, on CUDA and on CPUs with AMX, else float32."""
    if wanted == "auto":
        quick = device.type == "cuda" or bool(torch.cpu.get_capabilities().get("amx_bf16"))
        return torch.bfloat16 if quick else torch.float32
    return torch.bfloat16 if wanted == "bfloat16" else torch.float32


def sampled_softmax(x: Tensor, items: Tensor, following: Tensor, negatives: int, precision: torch.dtype) -> Tensor:
    """() mean cross-entropy of telling `following` (P,) from all V videos by x (P, D) and items (V, D), float32.

    With fewer negatives than videos the others are stood for by that many, drawn uniformly by torch's generator and
    shared by all P, with the correction of Bengio and Senecal (2008) for how they were drawn; else it is exact.
    """
    videos = len(items)
    score = (x * items[following]).sum(1)
    if negatives >= videos:
        return _Loss.apply(x, items, score, following, videos - 1, precision)
    drawn = torch.randperm(videos, device=items.device)[:negatives]
    place = torch.full((videos,), -1, device=items.device)
    place[drawn] = torch.arange(negatives, device=items.device)
    return _Loss.apply(x, items[drawn], score, place[following], videos - 1, precision)


class _Loss(torch.autograd.Function):
    """The cross-entropy piece by piece, so that no (P, N) matrix is ever whole.

    The gradient is made along with the loss, while the logits are in the cache: three times as quick on a CPU.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, candidates: Tensor, score: Tensor, own: Tensor, others: int, precision: torch.dtype
    ) -> Tensor:
        """x (P, D); candidates (N, D); score (P,) of the next video; own (P,): its place among the candidates or -1;
        others: how many videos the candidates without it stand for. -> () the mean over P."""
        positions, count = len(x), len(candidates)
        low, table = x.to(precision), candidates.to(precision)
        by_x, by_score = torch.empty_like(x), torch.empty_like(score)
        by_candidates = torch.zeros_like(candidates.T)
        total = torch.zeros((), device=x.device)
        rows = max(1, LOGITS_AT_ONCE[x.device.type] // count)
        for begin in range(0, positions, rows):
            part = slice(begin, begin + rows)
            logits = low[part] @ table.T
            present = (own[part] >= 0).nonzero().squeeze(1)
            logits[present, own[part][present]] = -math.inf
            highest = logits.amax(1, keepdim=True)
            powers = logits.sub_(highest).exp_()
            mass = powers.sum(1, dtype=torch.float32)
            drawn = count - (own[part] >= 0).float()
            against = highest.squeeze(1).float() + mass.log() + (others / drawn).log()
            excess = against - score[part]
            total += functional.softplus(excess).sum()
            share = torch.sigmoid(excess)
            powers.mul_((share / mass).to(precision)[:, None])
            by_x[part] = (powers @ table).float()
            by_candidates += (low[part].T @ powers).float()
            by_score[part] = -share
        ctx.save_for_backward(by_x / positions, by_candidates.T / positions, by_score / positions)
        return total / positions

    @staticmethod
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor | None, ...]:
        by_x, by_candidates, by_score = ctx.saved_tensors
        return by_x * upstream[0], by_candidates * upstream[0], by_score * upstream[0], None, None, None
