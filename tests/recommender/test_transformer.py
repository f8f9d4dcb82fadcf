"""The transformer: it finds what follows from what, by the order, and what is served is what was trained."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from recommender.torch_training import sampled_softmax
from recommender.transformer import SequenceTransformer, TransformerSettings, fit_transformer
from recommender.transformer_torch import read

VIDEOS, UNSEEN = 30, 30
#: Video v is followed by SUCCESSOR[v], one time in ten by any other.
SUCCESSOR = np.roll(np.random.default_rng(3).permutation(VIDEOS), 1)
SMALL = TransformerSettings(
    dim=16,
    blocks=2,
    heads=2,
    length=8,
    dropout=0.1,
    negatives=20,
    learning_rate=1e-2,
    batch_positions=128,
    epochs=8,
    patience=8,
)


def walks(viewers: int = 100, steps: int = 16, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """viewer (n,) and column (n,) of walks along the rule, in the order of time: the viewers take turns."""
    rng = np.random.default_rng(seed)
    at = rng.integers(0, VIDEOS, viewers)
    columns = []
    for _ in range(steps):
        columns.append(at)
        at = np.where(rng.random(viewers) < 0.9, SUCCESSOR[at], rng.integers(0, VIDEOS, viewers))
    return np.tile(np.arange(viewers), steps), np.concatenate(columns)


def fitted(settings: TransformerSettings = SMALL, **options: Any) -> SequenceTransformer:
    return fit_transformer(*walks(), VIDEOS + 1, settings, **options)


def history(*columns: int) -> tuple[np.ndarray, np.ndarray]:
    return np.array(columns, np.int64), np.ones(len(columns), np.float32)


@pytest.fixture(scope="module")
def transformer() -> SequenceTransformer:
    return fitted()


def test_the_video_that_follows_is_found(transformer: SequenceTransformer) -> None:
    best = [transformer.scores(*history(video)).argmax() for video in range(VIDEOS)]
    assert np.mean(best == SUCCESSOR) > 0.9


def test_the_order_decides(transformer: SequenceTransformer) -> None:
    older, newer = 4, 11
    assert transformer.scores(*history(newer, older)).argmax() == SUCCESSOR[newer]
    assert transformer.scores(*history(older, newer)).argmax() == SUCCESSOR[older]


def test_what_is_served_of_each_beginning_is_what_training_saw_there(transformer: SequenceTransformer) -> None:
    """Training reads all steps of a sequence at once: nothing of what comes later may be in them."""
    weights = {name: torch.from_numpy(array) for name, array in transformer.arrays().items()}
    sequence = np.array([5, 1, 29, 14, 3, 3, 8, 20])
    logits = (read(weights, torch.from_numpy(sequence)[None], 0.0)[0] @ weights["items"].T)[:, :VIDEOS]
    together = logits.softmax(1).sqrt().numpy()
    for step in range(len(sequence)):
        alone = transformer.scores(*history(*sequence[: step + 1][::-1]))[:VIDEOS]
        np.testing.assert_allclose(alone, together[step], atol=1e-5)


def test_no_more_than_the_newest_are_looked_at(transformer: SequenceTransformer) -> None:
    newest = list(range(SMALL.length))
    np.testing.assert_array_equal(
        transformer.scores(*history(*newest, 20, 21)), transformer.scores(*history(*newest, 25))
    )


def test_a_video_that_nobody_met_scores_nothing_and_says_nothing(transformer: SequenceTransformer) -> None:
    scores = transformer.scores(*history(UNSEEN, 7, UNSEEN, 2))
    assert scores.shape == (VIDEOS + 1,) and scores.dtype == np.float32
    assert scores[UNSEEN] == 0 and (scores[:VIDEOS] > 0).all()
    assert np.square(scores).sum() == pytest.approx(1, abs=1e-4), "roots of probabilities"
    np.testing.assert_array_equal(scores, transformer.scores(*history(7, 2)))
    assert not transformer.scores(*history(UNSEEN)).any()
    assert not transformer.scores(*history()).any()


def test_contributions_are_what_a_score_loses_without_a_video(transformer: SequenceTransformer) -> None:
    watched, wanted = [9, UNSEEN, 2, 17], np.array([int(SUCCESSOR[9]), 0, UNSEEN])
    parts = transformer.contributions(*history(*watched), wanted)
    whole = transformer.scores(*history(*watched))[wanted]
    for row, left in enumerate(([UNSEEN, 2, 17], [9, 2, 17], [9, UNSEEN, 17], [9, UNSEEN, 2])):
        np.testing.assert_allclose(parts[row], whole - transformer.scores(*history(*left))[wanted], atol=1e-4)
    assert parts[:, 0].argmax() == 0, "the newest is behind its successor"
    np.testing.assert_allclose(
        transformer.contributions(*history(9), wanted)[0], transformer.scores(*history(9))[wanted], atol=1e-5
    )
    assert transformer.contributions(*history(), wanted).shape == (0, 3)
    long = transformer.contributions(*history(*range(VIDEOS)), wanted)
    assert long.shape == (VIDEOS, 3) and long[0].any() and not long[SMALL.length :].any()


def test_what_is_stored_is_all_that_is_needed(transformer: SequenceTransformer, tmp_path: Path) -> None:
    np.savez(tmp_path / "stored.npz", allow_pickle=False, **transformer.arrays())
    with np.load(tmp_path / "stored.npz", allow_pickle=False) as stored:
        again = SequenceTransformer.from_arrays(dict(stored))
    assert all(array.dtype == np.float32 for array in again.arrays().values())
    np.testing.assert_array_equal(again.scores(*history(3, 5, 6)), transformer.scores(*history(3, 5, 6)))


def test_training_that_was_cut_off_goes_on_to_the_same_weights(tmp_path: Path) -> None:
    def after(epochs: int, folder: Path | None, heard: list[int]) -> dict[str, np.ndarray]:
        settings = SMALL.model_copy(update={"epochs": epochs})
        return fitted(settings, folder=folder, told=lambda now: heard.append(now["epoch"])).arrays()

    heard: list[int] = []
    at_once = after(3, None, heard)
    after(2, tmp_path, heard)
    resumed = after(3, tmp_path, heard)
    assert heard == [1, 2, 3, 1, 2, 3]
    for name, array in at_once.items():
        np.testing.assert_array_equal(resumed[name], array, err_msg=name)
    assert after(3, tmp_path, heard)["items"].any() and heard == [1, 2, 3, 1, 2, 3], "nothing was left to do"


def test_training_begins_anew_for_other_likes_and_after_damage(tmp_path: Path) -> None:
    heard: list[int] = []
    settings = SMALL.model_copy(update={"epochs": 1})

    def run(seed: int) -> None:
        fit_transformer(*walks(20, 6, seed), VIDEOS, settings, tmp_path, told=lambda now: heard.append(now["epoch"]))

    run(seed=0)
    run(seed=1)
    (stored,) = tmp_path.iterdir()
    stored.write_bytes(stored.read_bytes()[:1000])
    run(seed=1)
    assert heard == [1, 1, 1]


def test_training_ends_in_time_and_when_it_no_longer_helps() -> None:
    heard: list[dict[str, Any]] = []
    fitted(SMALL.model_copy(update={"budget_s": 1e-6}), told=heard.append)
    assert [now["epoch"] for now in heard] == [1]
    heard.clear()
    # Steps of no size: the first epoch is the best.
    fitted(SMALL.model_copy(update={"learning_rate": 1e-12, "patience": 2}), told=heard.append)
    assert [now["epoch"] for now in heard] == [1, 2, 3]


def test_numbers_that_do_not_stay_finite_are_told_of() -> None:
    with pytest.raises(ArithmeticError, match="learning_rate"):
        fitted(SMALL.model_copy(update={"learning_rate": 1e30}))


@pytest.mark.parametrize("columns", [[], [0], [0, 0], [0, 1], [-1, 0, -1]])
def test_tiny_worlds_can_be_fitted(columns: list[int]) -> None:
    transformer = fit_transformer(np.zeros(len(columns), int), np.array(columns, int), 2, SMALL)
    assert np.isfinite(transformer.scores(*history(0, 1))).all()


def test_the_loss_over_all_videos_is_the_cross_entropy() -> None:
    generator = torch.Generator().manual_seed(0)
    x, items = torch.randn(50, 6, generator=generator), torch.randn(9, 6, generator=generator)
    following = torch.randint(0, 9, (50,), generator=generator)
    gradients = []
    for exact in (True, False):
        a, b = x.clone().requires_grad_(), items.clone().requires_grad_()
        if exact:
            loss = torch.nn.functional.cross_entropy(a @ b.T, following)
        else:
            loss = sampled_softmax(a, b, following, 9, torch.float32)
        loss.backward()
        gradients.append([loss.detach().reshape(1), a.grad, b.grad])
    for expected, found in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_drawn_videos_stand_for_all_others() -> None:
    """The sum that the drawn ones estimate is right on average, whoever is drawn."""
    generator = torch.Generator().manual_seed(0)
    x, items = torch.randn(1, 4, generator=generator), torch.randn(40, 4, generator=generator) * 0.5
    following = torch.tensor([7])
    score = float(x[0] @ items[7])
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        odds = [
            np.expm1(float(sampled_softmax(x, items, following, 10, torch.float32))) * np.exp(score) for _ in range(800)
        ]
    others = float((x @ items.T)[0].exp().sum()) - np.exp(score)
    assert np.mean(odds) == pytest.approx(others, rel=0.03)
