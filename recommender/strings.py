"""Many strings in a few arrays, which processes can share: kept as UTF-8 behind each other, found by their hash.

A million strings as Python objects, and a dictionary of them, are hundreds of megabytes of each process. What is
changed or added later are objects of the process, beside the arrays.
"""

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Self, TypeVar, overload
from zlib import crc32

import numpy as np

#: The hash table is less than half full, so that most strings are found where they are looked for first.
SLOTS_PER_STRING = 2
#: So many are objects of each process after all: some megabytes, out of which they are had in half the time.
FEW = 50_000
Default = TypeVar("Default")


class _Packed:
    """n strings: those bytes of `text` (uint8) that begin at `begins` (n + 1,) int64."""

    def __init__(self, begins: np.ndarray, text: np.ndarray) -> None:
        self.begins, self.text = begins, text
        # Of an array each number would be an object of NumPy's, which takes longer.
        self._begins, self._text = begins.data, text.data
        self._objects = [self[place] for place in range(len(self))] if len(self) <= FEW else None

    @classmethod
    def of(cls, strings: Iterable[str]) -> Self:
        encoded = [string.encode() for string in strings]
        begins = np.zeros(len(encoded) + 1, np.int64)
        np.cumsum(np.fromiter(map(len, encoded), np.int64, len(encoded)), out=begins[1:])
        return cls(begins, np.frombuffer(b"".join(encoded), np.uint8))

    def __len__(self) -> int:
        return len(self._begins) - 1

    @property
    def strings(self) -> "list[str] | _Packed":
        """By place; as objects, where there are few."""
        return self if self._objects is None else self._objects

    def __getitem__(self, place: int) -> str:
        begins = self._begins
        return str(self._text[begins[place] : begins[place + 1]], "utf-8")


class StringColumn(Sequence[str]):
    """A string for each of n columns, which may be changed; "" for those that were added."""

    def __init__(self, packed: _Packed, size: int | None = None, changed: Mapping[int, str] | None = None) -> None:
        self._packed = packed
        self._strings, self._unchanged = packed.strings, len(packed)
        self._size = self._unchanged if size is None else size
        self._changed = dict(changed or {})

    @classmethod
    def empty(cls, size: int) -> Self:
        return cls(_Packed.of([]), size)

    def __len__(self) -> int:
        return self._size

    @overload
    def __getitem__(self, column: int) -> str: ...
    @overload
    def __getitem__(self, column: slice) -> list[str]: ...
    def __getitem__(self, column: int | slice) -> str | list[str]:
        if isinstance(column, slice):
            return [self[each] for each in range(*column.indices(self._size))]
        changed = self._changed.get(column)
        if changed is not None:
            return changed
        if 0 <= column < self._unchanged:
            return self._strings[column]
        if 0 <= column < self._size:
            return ""
        raise IndexError(column)

    def __setitem__(self, column: int, string: str) -> None:
        if self[column] != string:
            self._changed[column] = string

    def grown(self, size: int) -> "StringColumn":
        """The same with so many columns."""
        return StringColumn(self._packed, size, self._changed)

    def arrays(self) -> dict[str, np.ndarray]:
        packed = _Packed.of(self) if self._changed or self._size != len(self._packed) else self._packed
        return {"begins": packed.begins, "text": packed.text}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        return cls(_Packed(arrays["begins"], arrays["text"]))


class StringTable(Sequence[str]):
    """Different strings, each at its place for ever; `place_of` finds it."""

    def __init__(self, packed: _Packed, slots: np.ndarray) -> None:
        """slots: (a power of two,) int32, places by hashes, -1 for none."""
        self._packed = packed
        self._strings, self._first = packed.strings, len(packed)
        self._slots = slots
        self._added: list[str] = []
        self._adding = threading.Lock()
        self.place_of: dict[str, int] | _PlaceOf
        if len(packed) <= FEW:
            self.place_of = {packed[place]: place for place in range(len(packed))}
        else:
            self.place_of = _PlaceOf(self, packed, slots)

    @classmethod
    def of(cls, strings: Iterable[str]) -> Self:
        packed = _Packed.of(strings)
        return cls(packed, _slots_of(packed))

    def __len__(self) -> int:
        return self._first + len(self._added)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> list[str]: ...
    def __getitem__(self, place: int | slice) -> str | list[str]:
        if isinstance(place, slice):
            return [self[each] for each in range(*place.indices(len(self)))]
        if 0 <= place < self._first:
            return self._strings[place]
        if place < 0:
            raise IndexError(place)
        return self._added[place - self._first]

    def add(self, string: str) -> int:
        """Its place, which is a new one where it is not here yet."""
        place = self.place_of.get(string)
        if place is None:
            with self._adding:
                place = self.place_of.get(string)
                if place is None:
                    place = len(self)
                    self._added.append(string)
                    self.place_of[string] = place
        return place

    def copy(self) -> "StringTable":
        copied = StringTable(self._packed, self._slots)
        for string in self._added:
            copied.add(string)
        return copied

    def arrays(self) -> dict[str, np.ndarray]:
        table = StringTable.of(self) if self._added else self
        return {"begins": table._packed.begins, "text": table._packed.text, "slots": table._slots}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        return cls(_Packed(arrays["begins"], arrays["text"]), arrays["slots"])


class _PlaceOf(Mapping[str, int]):
    """The places of the strings of a table: in a hash table with linear probing, and of those added in a mapping."""

    def __init__(self, table: StringTable, packed: _Packed, slots: np.ndarray) -> None:
        self._table = table
        self._begins, self._text = packed.begins.data, packed.text.data
        self._slots = slots.data
        self._mask = len(slots) - 1
        self._added: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._table)

    def __iter__(self) -> Iterator[str]:
        return iter(self._table)

    def __contains__(self, string: object) -> bool:
        return isinstance(string, str) and self.get(string) is not None

    def __getitem__(self, string: str) -> int:
        place = self.get(string)
        if place is None:
            raise KeyError(string)
        return place

    def __setitem__(self, string: str, place: int) -> None:
        """Of one that is not here yet."""
        self._added[string] = place

    @overload
    def get(self, string: str, /) -> int | None: ...
    @overload
    def get(self, string: str, /, default: int | Default) -> int | Default: ...
    def get(self, string: str, /, default: object = None) -> object:
        # What comes with a request may be no Unicode; no string here is the same.
        wanted = string.encode("utf-8", "surrogatepass")
        slot = crc32(wanted) & self._mask
        while (place := self._slots[slot]) >= 0:
            if self._text[self._begins[place] : self._begins[place + 1]] == wanted:
                return place
            slot = (slot + 1) & self._mask
        return self._added.get(string, default)


def _slots_of(packed: _Packed) -> np.ndarray:
    """(a power of two,) int32: each place at its hash, or in the first slot behind it that was free."""
    count, begins, text = len(packed), packed.begins.tolist(), packed.text.tobytes()
    slots = np.full(1 << (SLOTS_PER_STRING * count).bit_length(), -1, np.int32)
    hashes = (crc32(text[begins[place] : begins[place + 1]]) for place in range(count))
    slot = np.fromiter(hashes, np.int64, count) & (len(slots) - 1)
    waiting = np.arange(count, dtype=np.int32)
    while len(waiting):
        free = slots[slot] < 0
        slots[slot[free]] = waiting[free]
        # Of several that want one slot the last has it.
        homeless = slots[slot] != waiting
        waiting, slot = waiting[homeless], (slot[homeless] + 1) & (len(slots) - 1)
    return slots
