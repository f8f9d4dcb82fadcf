"""The time that a request has: what is left of it is what its stages may still take."""

import time


class Budget:
    def __init__(self, milliseconds: float) -> None:
        self._ends = time.perf_counter() + milliseconds / 1000

    @property
    def left_ms(self) -> float:
        """0 when it is spent."""
        return max(0.0, (self._ends - time.perf_counter()) * 1000)
