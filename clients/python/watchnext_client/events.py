"""Events are gathered and sent in batches; each gets its id and time here, so that sending twice counts once."""

import time
import uuid
from collections.abc import Callable
from typing import Any, cast

from watchnext_client.models import Event, EventAnswer, EventResult

#: The service takes no larger batch.
LARGEST_BATCH = 1_000

#: Is told of each event that the service did not take, with the reason.
OnRejected = Callable[[Event, EventResult], object]


class EventBuffer:
    """Events that wait to be sent. Knows when it is time and what came of them, not how they are sent."""

    def __init__(self, size: int, every_s: float, on_rejected: OnRejected | None) -> None:
        if not 1 <= size <= LARGEST_BATCH:
            raise ValueError(f"size is 1 to {LARGEST_BATCH}")
        self._size = size
        self._every_s = every_s
        self._on_rejected = on_rejected
        self._waiting: list[Event] = []
        self._since = 0.0
        self._failed = False

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def is_due(self) -> bool:
        """Whether enough events wait, or the first has waited long enough since it came, or since a batch failed."""
        is_old = bool(self._waiting) and time.monotonic() - self._since >= self._every_s
        # A service that is away is not asked anew with every event.
        return is_old or (len(self._waiting) >= self._size and not self._failed)

    def put(self, event: dict[str, Any]) -> str:
        """Adds an event with an id and the present time unless it has them; returns its id."""
        filled = {"event_id": uuid.uuid4().hex, "occurred_at": time.time(), **event}
        if not self._waiting:
            self._since = time.monotonic()
        self._waiting.append(cast(Event, filled))
        return cast(str, filled["event_id"])

    def batch(self) -> list[Event]:
        """What is to be sent next; it stays here, and counts as failed, until `sent`."""
        self._since, self._failed = time.monotonic(), True
        return self._waiting[: self._size]

    def sent(self, batch: list[Event], answer: EventAnswer) -> None:
        """Takes a batch out that was answered."""
        del self._waiting[: len(batch)]
        self._since, self._failed = time.monotonic(), False
        if self._on_rejected is not None:
            for event, result in zip(batch, answer["results"], strict=True):
                if result["status"] == "rejected":
                    self._on_rejected(event, result)
