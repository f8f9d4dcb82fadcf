"""The training of `recommender.transformer`, in torch: on CUDA where there is one, else on the CPU.

Every epoch is a function of the seed and its number, and is stored when it ends: training that was cut off goes on
to the weights that it would have reached. Importing it imports torch (seconds): only `fit_transformer` does.
"""

import hashlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from torch.nn import functional

from data.files import replacing
from recommender.torch_training import device_for, precision_for, sampled_softmax
from recommender.transformer import EPSILON, EXPANSION, TransformerSettings

#: Viewers whose last like is held back, and the length of the lists that are judged by it.
HELD_BACK = 2_000
LIST = 10
#: Share of the old in the running average of the weights, which is what is validated and served: it does for a
#: constant step size what a decaying one does, and training may end at any epoch.
AVERAGE = 0.999
WARM_UP_STEPS = 100
STATE = "transformer.safetensors"
#: Settings that say when to stop, not what is computed: training may go on under others.
STOPPING = {"enabled", "epochs", "patience", "budget_s", "device"}


@dataclass(frozen=True)
class Sequences:
    """Likes in the order watched, viewer by viewer, as numbers of the K known videos.

    known: (K,) columns, sorted; video (n,) int64 in 0..K-1 to train on, sequence i from bounds[i] to bounds[i + 1];
    held (m,) int64 the sequences whose next video is held back, next (m,) int64 that video, -1 where it is unknown.
    """

    known: np.ndarray
    video: np.ndarray
    bounds: np.ndarray
    held: np.ndarray
    next: np.ndarray

    @property
    def lengths(self) -> np.ndarray:
        return np.diff(self.bounds)


@dataclass
class State:
    """What an epoch leaves behind: weights, their running average, the best average so far, and Adam's moments."""

    weights: dict[str, Tensor]
    average: dict[str, Tensor]
    best: dict[str, Tensor]
    optimizer: torch.optim.Adam
    epoch: int = 0
    steps: int = 0
    best_epoch: int = 0
    best_ndcg: float = -1.0
    seconds: float = 0.0


def train(
    viewer: np.ndarray,
    column: np.ndarray,
    videos: int,
    settings: TransformerSettings,
    folder: Path | None,
    told: Callable[[dict[str, Any]], None],
) -> dict[str, np.ndarray]:
    """The weights of a SequenceTransformer; see `fit_transformer`."""
    data = _sequences(viewer, column, settings.seed)
    device = device_for(settings.device)
    state = _first_state(len(data.known), settings, device)
    path = folder / STATE if folder else None
    fingerprint = _fingerprint(data, videos, settings)
    if path:
        _restore(state, path, fingerprint)
    trainable = len(data.known) > 1 and data.lengths.max(initial=0) > 1
    while trainable and not _done(state, settings):
        started = time.monotonic()
        loss = _epoch(state, data, settings)
        if not math.isfinite(loss):
            raise ArithmeticError("the transformer's loss does not stay finite; lower its learning_rate")
        ndcg = _validate(state.average, data, settings)
        state.epoch += 1
        if ndcg > state.best_ndcg or len(data.held) == 0:
            state.best_ndcg, state.best_epoch = ndcg, state.epoch
            state.best = {name: tensor.clone() for name, tensor in state.average.items()}
        state.seconds += time.monotonic() - started
        if path:
            _store(state, path, fingerprint)
        told(
            {
                "epoch": state.epoch,
                "loss": loss,
                "ndcg": ndcg,
                "best": state.best_ndcg,
                "seconds": round(state.seconds, 1),
            }
        )
    arrays = {name: tensor.cpu().numpy() for name, tensor in state.best.items()}
    items = np.zeros((videos, settings.dim), np.float32)
    items[data.known] = arrays["items"]
    return arrays | {"items": items}


def _done(state: State, settings: TransformerSettings) -> bool:
    late = settings.budget_s is not None and state.seconds >= settings.budget_s
    return late or state.epoch >= settings.epochs or state.epoch - state.best_epoch >= settings.patience


# ---- The data ------------------------------------------------------------------------------------------------


def _sequences(viewer: np.ndarray, column: np.ndarray, seed: int) -> Sequences:
    order = np.argsort(viewer, kind="stable")
    column = column[order].astype(np.int64)
    counts = np.unique(viewer, return_counts=True)[1]
    ends = np.cumsum(counts)
    # Of a shorter history nothing would be left to train on.
    long = np.flatnonzero(counts > 2)
    held = np.sort(np.random.default_rng(seed).permutation(long)[:HELD_BACK])
    kept = np.ones(len(column), bool)
    kept[ends[held] - 1] = False
    known, video = np.unique(column[kept], return_inverse=True)
    last = column[ends[held] - 1]
    place = np.minimum(np.searchsorted(known, last), max(len(known) - 1, 0))
    following = np.where(known[place] == last, place, -1) if len(last) else last
    counts[held] -= 1
    return Sequences(known, video, np.concatenate([[0], np.cumsum(counts)]), held, following)


def _windows(data: Sequences, length: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(w,) starts and (w,) counts of runs of at most `length` likes that have a next one.

    Together they cover all likes but each viewer's last, cut anew for every epoch.
    """
    steps = np.maximum(data.lengths - 1, 0)
    sequence = np.repeat(np.arange(len(steps)), steps)
    place = np.arange(len(sequence)) - np.repeat(np.cumsum(steps) - steps, steps)
    shift = np.where(steps > length, rng.integers(0, length, len(steps)), 0)
    begins = (place == 0) | ((place + shift[sequence]) % length == 0)
    first = np.flatnonzero(begins)
    return data.bounds[sequence[first]] + place[first], np.diff(np.append(first, len(sequence)))


def _batches(
    data: Sequences, settings: TransformerSettings, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(b,) starts and (b,) counts of runs of about the same length, `batch_positions` likes and padding at most."""
    starts, counts = _windows(data, settings.length, rng)
    mixed = rng.permutation(len(starts))
    by_length = mixed[np.argsort(counts[mixed], kind="stable")]
    # The last of a batch is its longest: cut where the rows times that would be too many.
    batches, begin = [], 0
    while begin < len(by_length):
        rows = np.arange(1, min(settings.batch_positions, len(by_length) - begin) + 1)
        fitting = np.searchsorted(
            rows * counts[by_length[begin : begin + len(rows)]], settings.batch_positions, "right"
        )
        batches.append(by_length[begin : begin + max(1, int(fitting))])
        begin += len(batches[-1])
    for number in rng.permutation(len(batches)):
        yield starts[batches[number]], counts[batches[number]]


def _padded(starts: np.ndarray, counts: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Places in the flat likes (b, longest), and which of them count (b, longest): padding follows, never precedes."""
    steps = np.arange(counts.max())
    return np.minimum(starts[:, None] + steps, size - 1), steps < counts[:, None]


# ---- The network ---------------------------------------------------------------------------------------------


def _first_weights(videos: int, settings: TransformerSettings) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(settings.seed)
    dim, blocks, wide = settings.dim, settings.blocks, EXPANSION * settings.dim

    def normal(*shape: int, spread: float) -> Tensor:
        return torch.randn(*shape, generator=generator) * spread

    norm = torch.stack([torch.ones(dim), torch.zeros(dim)])
    # Heads start with different reaches, from the whole history to the last videos, and learn their own.
    slopes = torch.linspace(0, 1, settings.heads) if settings.heads > 1 else torch.full((1,), 0.5)
    return {
        "items": normal(videos, dim, spread=0.02),
        "reach": (-slopes[:, None] * torch.arange(settings.length).add(1).log()).repeat(blocks, 1, 1),
        "qkv": normal(blocks, dim, 3 * dim, spread=dim**-0.5),
        "mix": normal(blocks, dim, dim, spread=(2 * blocks * dim) ** -0.5),
        "widen": normal(blocks, dim, wide, spread=dim**-0.5),
        "narrow": normal(blocks, wide, dim, spread=(2 * blocks * wide) ** -0.5),
        "norms": norm.repeat(blocks, 2, 1, 1),
        "last_norm": norm.clone(),
    }


def read(weights: dict[str, Tensor], sequences: Tensor, dropout: float) -> Tensor:
    """(S, T) videos, oldest first -> (S, T, D): what is expected after each of them; T <= length."""
    count, steps = sequences.shape
    blocks, heads, _ = weights["reach"].shape
    dim = weights["items"].shape[1]
    x = functional.dropout(weights["items"][sequences] * dim**0.5, dropout, dropout > 0)
    back = torch.arange(steps, device=x.device)[:, None] - torch.arange(steps, device=x.device)
    for block in range(blocks):
        inner, outer = weights["norms"][block]
        normed = functional.layer_norm(x, (dim,), inner[0], inner[1], EPSILON)
        qkv = (normed @ weights["qkv"][block]).view(count, steps, 3, heads, dim // heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        reach = weights["reach"][block][:, back.abs()].masked_fill(back < 0, -math.inf)
        attention = torch.softmax(q @ k.transpose(-1, -2) * (dim // heads) ** -0.5 + reach, -1)
        attended = (attention @ v).transpose(1, 2).reshape(count, steps, dim)
        x = x + functional.dropout(attended @ weights["mix"][block], dropout, dropout > 0)
        normed = functional.layer_norm(x, (dim,), outer[0], outer[1], EPSILON)
        wide = functional.relu(normed @ weights["widen"][block])
        x = x + functional.dropout(wide @ weights["narrow"][block], dropout, dropout > 0)
    return functional.layer_norm(x, (dim,), weights["last_norm"][0], weights["last_norm"][1], EPSILON)


# ---- An epoch ------------------------------------------------------------------------------------------------


def _first_state(videos: int, settings: TransformerSettings, device: torch.device) -> State:
    weights = {name: tensor.to(device).requires_grad_() for name, tensor in _first_weights(videos, settings).items()}
    average = {name: tensor.detach().clone() for name, tensor in weights.items()}
    optimizer = torch.optim.Adam(list(weights.values()), lr=settings.learning_rate, betas=(0.9, 0.98), fused=True)
    return State(weights, average, {name: tensor.clone() for name, tensor in average.items()}, optimizer)


def _epoch(state: State, data: Sequences, settings: TransformerSettings) -> float:
    """One pass over all likes; the mean loss per like."""
    device = state.weights["items"].device
    precision = precision_for(settings.precision, device)
    rng = np.random.default_rng([settings.seed, state.epoch])
    likes = torch.from_numpy(data.video).to(device)
    losses, positions = torch.zeros((), device=device), 0
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(int(rng.integers(2**62)))
        for starts, counts in _batches(data, settings, rng):
            places, counting = (torch.from_numpy(array).to(device) for array in _padded(starts, counts, len(likes) - 1))
            for group in state.optimizer.param_groups:
                group["lr"] = settings.learning_rate * min(1.0, (state.steps + 1) / WARM_UP_STEPS)
            state.optimizer.zero_grad(set_to_none=True)
            with torch.autocast(device.type, torch.bfloat16, enabled=precision == torch.bfloat16):
                x = read(state.weights, likes[places], settings.dropout)
            following = likes[places[counting] + 1]
            loss = sampled_softmax(x[counting], state.weights["items"], following, settings.negatives, precision)
            loss.backward()
            state.optimizer.step()
            state.steps += 1
            _update_average(state)
            losses += loss.detach() * int(counts.sum())
            positions += int(counts.sum())
    return float(losses) / positions


@torch.no_grad()
def _update_average(state: State) -> None:
    old = min(AVERAGE, (1 + state.steps) / (10 + state.steps))
    torch._foreach_lerp_(list(state.average.values()), list(state.weights.values()), 1 - old)


@torch.inference_mode()
def _validate(weights: dict[str, Tensor], data: Sequences, settings: TransformerSettings) -> float:
    """Mean NDCG@10 of the held-back likes among all videos that their viewers had not liked; NaN without any."""
    device = weights["items"].device
    precision = precision_for(settings.precision, device)
    likes = torch.from_numpy(data.video).to(device)
    counts = np.minimum(data.lengths[data.held], settings.length)
    gains = np.zeros(len(data.held))
    order = np.argsort(counts, kind="stable")
    rows = max(1, settings.batch_positions // settings.length)
    for begin in range(0, len(order), rows):
        part = order[begin : begin + rows]
        ends = data.bounds[data.held[part] + 1]
        places, _ = _padded(ends - counts[part], counts[part], len(likes))
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == torch.bfloat16):
            x = read(weights, likes[torch.from_numpy(places).to(device)], 0.0)
        logits = (x[np.arange(len(part)), counts[part] - 1] @ weights["items"].T).cpu().numpy()
        following = data.next[part]
        reached = logits[np.arange(len(part)), following]
        for row, sequence in enumerate(data.held[part]):
            logits[row, data.video[data.bounds[sequence] : data.bounds[sequence + 1]]] = -np.inf
        logits[np.arange(len(part)), following] = reached
        # What scores the same counts against it, and so do numbers that are none.
        rank = (~(logits < reached[:, None])).sum(axis=1) - 1
        gains[part] = np.where((rank < LIST) & (following >= 0), 1 / np.log2(rank + 2), 0)
    return float(gains.mean()) if len(gains) else math.nan


# ---- Going on after a break ----------------------------------------------------------------------------------


def _fingerprint(data: Sequences, videos: int, settings: TransformerSettings) -> str:
    digest = hashlib.sha256(settings.model_dump_json(exclude=STOPPING).encode())
    for array in (np.array([videos]), data.known, data.video, data.bounds, data.held, data.next):
        digest.update(np.ascontiguousarray(array, np.int64).tobytes())
    return digest.hexdigest()


def _store(state: State, path: Path, fingerprint: str) -> None:
    tensors = {
        f"{kind}.{name}": tensor.detach()
        for kind in ("weights", "average", "best")
        for name, tensor in getattr(state, kind).items()
    }
    for number, moments in state.optimizer.state_dict()["state"].items():
        tensors |= {f"adam.{number}.{name}": tensor for name, tensor in moments.items()}
    numbers = {name: getattr(state, name) for name in ("epoch", "steps", "best_epoch", "best_ndcg", "seconds")}
    with replacing(path) as file:
        file.write(save(tensors, {"fingerprint": fingerprint, "numbers": orjson.dumps(numbers).decode()}))


def _restore(state: State, path: Path, fingerprint: str) -> None:
    """Takes over what was stored; leaves the state as it is when there is nothing of this training."""
    try:
        with safe_open(path, "pt", device=str(state.weights["items"].device)) as stored:
            metadata = stored.metadata() or {}
            if metadata.get("fingerprint") != fingerprint:
                return
            tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    except (FileNotFoundError, SafetensorError):
        return
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        kind, rest = name.split(".", 1)
        if kind == "adam":
            number, moment = rest.split(".")
            moments.setdefault(int(number), {})[moment] = tensor
        else:
            with torch.no_grad():
                getattr(state, kind)[rest].copy_(tensor)
    groups = state.optimizer.state_dict()["param_groups"]
    state.optimizer.load_state_dict({"state": moments, "param_groups": groups})
    for name, value in orjson.loads(metadata["numbers"]).items():
        setattr(state, name, value)
