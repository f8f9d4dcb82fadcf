"""Videos that follow from videos: short random walks over the graph of viewers and videos.

From a watched video to one of its viewers, on to another video of that viewer, and so on. P3alpha: Cooper et al.:
Random Walks in Recommender Systems (2014); RP3beta: Paudel et al.: Updatable, Accurate, Diverse, and Scalable
Recommendations for Interactive Applications (2017). Sparse throughout, so that it also serves catalogues that are
too large for `recommender.item_item`; strongest where viewers have watched little.
"""

import numpy as np
import scipy.sparse as sp
from pydantic import BaseModel, ConfigDict, Field

from recommender.item_item import ItemWeights
from recommender.strongest import strongest_of_product

#: Rows that are worked on at a time.
BLOCK = 8_192
#: Below so many videos of a viewer on average, histories are short: a second round of viewers then finds what one
#: cannot reach, where it only blurs long ones.
SHORT_HISTORY = 20.0


class WalkSettings(BaseModel):
    """What is not set is what did best on TikTok micro-videos where histories are short, and on MovieLens-1M where they
    are long."""

    model_config = ConfigDict(extra="forbid")

    alpha: float = Field(default=0.7, gt=0, le=4, description="exponent of a step from a video; 1 is a random walk")
    viewer_alpha: float | None = Field(
        default=None, gt=0, le=4, description="of a step from a viewer; without one 1.3 for short histories, else 0.7"
    )
    beta: float | None = Field(
        default=None, ge=0, le=2, description="holds back what many watch; without one 0 for short histories, else 0.3"
    )
    far: float | None = Field(
        default=None,
        ge=0,
        description="weight of a second round of viewers; without one 10 for short histories, else 0",
    )
    neighbours: int = Field(default=200, ge=1, description="most probable ends of walks kept per video")

    def suited_to(self, mean_history: float) -> tuple[float, float, float]:
        """(viewer_alpha, beta, far) for viewers of so many videos on average."""
        usual = (1.3, 0.0, 10.0) if mean_history < SHORT_HISTORY else (0.7, 0.3, 0.0)
        chosen = (self.viewer_alpha, self.beta, self.far)
        viewer_alpha, beta, far = (own if given is None else given for given, own in zip(chosen, usual, strict=True))
        return viewer_alpha, beta, far


def fit_walks(positives: sp.csr_matrix, settings: WalkSettings | None = None) -> ItemWeights:
    """Where walks from each video end, by the pattern of (U, V) positive signals: RP3beta's (V, V) weights.

    W[i, j] = sum over viewers u of (1 / n_i)^alpha (1 / n_u)^viewer_alpha / n_j^beta, with n the number of viewers
    of a video and of videos of a viewer (the papers have one alpha for both); W is pruned to the strongest
    `neighbours` of each row. With `far` the rows are W + far * W^2, pruned again: the second round starts from the
    pruned first one, which bounds its work by V * neighbours^2. A walk that ends where it began says nothing: the
    diagonal is 0.
    """
    settings = settings or WalkSettings()
    seen = positives.astype(bool).astype(np.float32).tocsr()
    seen.eliminate_zeros()
    viewers_of_video = np.bincount(seen.indices, minlength=seen.shape[1])
    videos_of_viewer = np.diff(seen.indptr)
    watching = videos_of_viewer > 0
    viewer_alpha, beta, far = settings.suited_to(float(videos_of_viewer[watching].mean()) if watching.any() else 0.0)
    to_viewers = sp.diags_array(_power(viewers_of_video, -settings.alpha)) @ seen.T.tocsr()
    to_videos = (
        sp.diags_array(_power(videos_of_viewer, -viewer_alpha)) @ seen @ sp.diags_array(_power(viewers_of_video, -beta))
    )
    near = _strongest_of_product(to_viewers.tocsr(), to_videos.tocsr(), None, settings.neighbours)
    if far == 0:
        return ItemWeights(near)
    return ItemWeights(_strongest_of_product(near * np.float32(far), near, near, settings.neighbours))


def _power(degrees: np.ndarray, exponent: float) -> np.ndarray:
    """Degrees (n,) to a power, float32; where there is nothing to walk along there is no way out."""
    return np.where(degrees > 0, np.maximum(degrees, 1.0) ** exponent, 0).astype(np.float32)


def _strongest_of_product(
    left: sp.csr_matrix, right: sp.csr_matrix, added: sp.csr_matrix | None, keep: int
) -> sp.csr_matrix:
    """left @ right (+ added) without its diagonal, of every row the `keep` largest entries above 0."""
    if added is not None:
        one = sp.identity(added.shape[0], np.float32, "csr")
        left, right = sp.hstack([left, one], "csr"), sp.vstack([right, added], "csr")
    # One more than is kept, for the diagonal.
    ends = strongest_of_product(left, right, keep + 1)
    row = np.repeat(np.arange(ends.shape[0]), np.diff(ends.indptr))
    ends.data[ends.indices == row] = 0.0
    ends.eliminate_zeros()
    full = np.flatnonzero(np.diff(ends.indptr) > keep)
    # Where the diagonal was not among the largest, the least of them is one too many.
    for start in range(0, len(full), BLOCK):
        places = ends.indptr[full[start : start + BLOCK], None] + np.arange(keep + 1)
        ends.data[np.take_along_axis(places, ends.data[places].argmin(axis=1)[:, None], axis=1)] = 0.0
    ends.eliminate_zeros()
    ends.sort_indices()
    return ends
