"""A made library of videos: vectors that lie like those of real ones, in any number."""

import numpy as np

TOPICS = 2_000


def library(count: int, dim: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """(count, dim) float32, L2-normalised, and the topic (count,) int32 of each.

    Topics of Zipf sizes (exponent 0.7) around a common mean; between and within topics variance falls with the
    dimension (singular values as i ** -0.5, in two directions drawn at random): 32 dimensions hold 62 % of it, those of
    the visual features of 6,710 real micro-videos (TikTok, as published with DiffMM) 64 %; the mean vector is 0.79
    long there 0.93, and the nearest neighbour has a cosine of 0.93, there 0.96. seed: of the vectors; topics are
    always the same ones.
    """
    shape, rng = np.random.default_rng(0), np.random.default_rng(seed + 1)
    falling = np.arange(1, dim + 1) ** -0.5
    falling /= np.linalg.norm(falling)

    def directions() -> np.ndarray:
        return (np.linalg.qr(shape.normal(size=(dim, dim)))[0] * falling[:, None]).astype(np.float32)

    between, within = directions(), directions()
    centres = shape.standard_normal((TOPICS, dim), dtype=np.float32) @ between
    mean = shape.standard_normal(dim, dtype=np.float32)
    centres += 1.5 * mean / np.linalg.norm(mean)
    share = np.arange(1, TOPICS + 1) ** -0.7
    topic = rng.choice(TOPICS, count, p=share / share.sum()).astype(np.int32)
    vectors = np.empty((count, dim), np.float32)
    for start in range(0, count, 100_000):
        some = slice(start, start + 100_000)
        noise = rng.standard_normal((len(topic[some]), dim), dtype=np.float32) @ within
        vectors[some] = centres[topic[some]] + 0.6 * noise
        vectors[some] /= np.linalg.norm(vectors[some], axis=1, keepdims=True)
    return vectors, topic


def watching(topic: np.ndarray, viewers: int, events: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Who watched which video when: viewer (n,) and video (n,) int32, seconds from the first (n,) float64, in order.

    topic: (V,) of each video. Each viewer comes at a moment of her own, with a history whose length is geometric, and
    watches videos of twenty topics, in each of them a few more often than the rest. No pair is there twice, so that n
    is less than `events` by what was drawn again.
    """
    rng = np.random.default_rng(seed)
    by_topic = rng.permutation(len(topic))
    by_topic = by_topic[np.argsort(topic[by_topic], kind="stable")]
    sizes = np.bincount(topic, minlength=topic.max() + 1)
    starts = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    viewer = rng.choice(viewers, events, p=_shares(rng.exponential(size=viewers) + 0.1)).astype(np.int32)
    favourites = rng.choice(len(sizes), (viewers, 20), p=_shares(sizes))
    chosen = favourites[viewer, np.minimum(rng.geometric(0.12, events) - 1, 19)]
    video = by_topic[starts[chosen] + (sizes[chosen] * rng.random(events) ** 1.5).astype(np.int64)].astype(np.int32)
    _, first = np.unique(viewer.astype(np.int64) * len(topic) + video, return_index=True)
    came = rng.random(viewers)
    time = (came[viewer[first]] + (1 - came[viewer[first]]) * rng.random(len(first))) * 180 * 86_400.0
    order = first[np.argsort(time)]
    return viewer[order], video[order], np.sort(time)


def _shares(weights: np.ndarray) -> np.ndarray:
    return weights / weights.sum()
