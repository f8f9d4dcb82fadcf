"""What this machine has to compute with. Knows nothing of what is computed."""

import os
from pathlib import Path


def usable_cores() -> int:
    """Cores that this process may use: fewer than there are where it is tied to some."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def has_cuda() -> bool:
    """Whether torch sees an NVIDIA device. Asks torch (seconds to import) only where a driver is present."""
    if not any(Path(device).exists() for device in ("/dev/nvidiactl", "/dev/dxg")):
        return False
    import torch

    return torch.cuda.is_available()
