"""The time that a request has: what is left of it is what its stages may still take."""

import time


class Budget:
    def __init__(self, milliseconds: float, began: float | None = None) -> None:
        """began: when, by `time.perf_counter`; now, where nothing is given."""
        self._ends = (time.perf_counter() if began is None else began) + milliseconds / 1000

    @property
    def left_ms(self) -> float:
        """0 when it is spent."""
        return max(0.0, (self._ends - time.perf_counter()) * 1000)
