"""What events say of taste: the signal table of `data.schema`, over arrays. Knows nothing of who did it and when."""

from collections.abc import Iterable

import numpy as np

from data.schema import SIGNALS, SKIP_BELOW, EventType

_TYPES = list(EventType)
CODE = {event_type.value: code for code, event_type in enumerate(_TYPES)}
_WEIGHT = np.array([SIGNALS[name].weight for name in _TYPES], np.float32)
_SLOPE = np.array([SIGNALS[name].slope for name in _TYPES], np.float32)
_SKIP = np.array([np.nan if SIGNALS[name].skip is None else SIGNALS[name].skip for name in _TYPES], np.float32)
_CAN_SKIP = ~np.isnan(_SKIP)
_EXCLUDES_FROM = np.array([SIGNALS[name].excludes_from for name in _TYPES], np.float64)


def type_codes(types: Iterable[str]) -> np.ndarray:
    """Event type names -> int8 codes, the form that `signals` and `excludes` take."""
    return np.frombuffer(bytes(map(CODE.__getitem__, types)), np.int8)


def signals(codes: np.ndarray, values: np.ndarray) -> np.ndarray:
    """What each event says of its video, by the signal table: (n,) codes and values (NaN: none) -> (n,) float32."""
    value = _known(values).astype(np.float32)
    graded = _WEIGHT[codes] + _SLOPE[codes] * value
    skips = (value < SKIP_BELOW) & _CAN_SKIP[codes]
    graded[skips] = _SKIP[codes[skips]]
    return graded


def excludes(codes: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Which events take their video out of the viewer's recommendations: (n,) -> (n,) bool."""
    return _known(values) >= _EXCLUDES_FROM[codes]


def _known(values: np.ndarray) -> np.ndarray:
    """With 0 for what is not known (NaN). `np.nan_to_num` takes five times as long for a viewer's history."""
    return np.where(np.isnan(values), 0.0, values)


def begins_of_runs(keys: np.ndarray) -> np.ndarray:
    """Where in (n,) sorted keys each of them begins: (distinct,) int64."""
    begins = np.ones(len(keys), bool)
    np.not_equal(keys[1:], keys[:-1], out=begins[1:])
    return begins.nonzero()[0]
