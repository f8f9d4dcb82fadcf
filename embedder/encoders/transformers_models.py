"""Loading models and tokenizers of transformers from a folder. Importing it imports transformers (seconds).

Only safetensors, no code of a repository, no network: what is fetched is fetched before. Knows nothing of encoders.
"""

from pathlib import Path
from typing import Any

import torch
import transformers

from embedder.encoders import EncoderError

# What it warns of are processors that torchvision would be needed for, and ours are.
transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()


def load_model(folder: Path, dtype: torch.dtype = torch.float32, unused: tuple[str, ...] = ()) -> Any:
    """The model of a folder, ready to be asked, on the CPU. Raises EncoderError when it cannot be loaded, or when
    weights are missing, unless their names begin with one of `unused`."""
    try:
        model, report = transformers.AutoModel.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=dtype,
            output_loading_info=True,
        )
    except Exception as error:  # a damaged file gives errors of several libraries
        raise EncoderError(f"the model in {folder} cannot be loaded: {first_line(error)}") from error
    missing = sorted(key for key in report["missing_keys"] if not key.startswith(unused))
    if missing:
        some = ", ".join(missing[:3])
        raise EncoderError(f"the weights in {folder} lack {some}: they would be random numbers")
    return model.eval()


def load_tokenizer(folder: Path) -> Any:
    """Raises EncoderError when the folder has none that can be loaded."""
    try:
        return transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:
        raise EncoderError(f"the tokenizer in {folder} cannot be loaded: {first_line(error)}") from error


def first_line(error: Exception) -> str:
    """The first line of what an error says, 300 characters at most."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
