"""The embedding table: what was appended is there, whatever else happens."""

import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from data.embeddings import COMPACT_FROM_BLOCKS, EmbeddingTable, folder_name
from data.files import CorruptFileError

DIM = 3


def vectors(*values: float) -> np.ndarray:
    """One vector per value, all of its numbers the same."""
    return np.repeat(np.array(values, np.float32)[:, None], DIM, axis=1)


def contents(table: EmbeddingTable) -> dict[str, float]:
    assert table.matrix.shape == (len(table), DIM) and table.matrix.dtype == np.float32
    assert (table.matrix == table.matrix[:, :1]).all()
    return dict(zip(table.ids, table.matrix[:, 0].tolist(), strict=True))


@pytest.fixture
def table(tmp_path: Path) -> EmbeddingTable:
    return EmbeddingTable.create(tmp_path, "encoder", DIM)


def test_rows_are_there_after_reopening_and_the_last_one_of_an_id_counts(table: EmbeddingTable) -> None:
    table.append(["a", "b"], vectors(1, 2))
    table.append(["c", "a"], vectors(3, 4))
    assert contents(table) == contents(EmbeddingTable.open(table.folder)) == {"a": 4, "b": 2, "c": 3}
    assert table.matrix[table.rows_of(["a", "c"])][:, 0].tolist() == [4, 3]
    assert table.rows_of(["nobody"]).tolist() == [-1]
    table.verify()


def test_removed_rows_are_gone_until_they_are_appended_again(table: EmbeddingTable) -> None:
    table.append(["a", "b"], vectors(1, 2))
    table.remove(["a", "nobody"])
    assert contents(table) == contents(EmbeddingTable.open(table.folder)) == {"b": 2}
    table.append(["a"], vectors(3))
    assert contents(EmbeddingTable.open(table.folder)) == {"a": 3, "b": 2}


def test_compaction_keeps_the_rows_and_frees_the_rest(table: EmbeddingTable) -> None:
    for value in range(5):
        table.append(["a", "b"], vectors(value, -value))
    table.remove(["b"])
    before = sum(path.stat().st_size for path in table.folder.iterdir())
    reader = EmbeddingTable.open(table.folder)
    table.compact()
    assert sum(path.stat().st_size for path in table.folder.iterdir()) < before
    assert len(list(table.folder.glob("*.npy"))) == 1
    assert contents(table) == {"a": 4}
    assert contents(reader) == {"a": 4}, "who had opened the table before reads on"
    table.remove(["a"])
    table.compact()
    assert contents(EmbeddingTable.open(table.folder)) == {}


def test_many_small_appends_compact_the_table_by_themselves(table: EmbeddingTable) -> None:
    for number in range(COMPACT_FROM_BLOCKS + 1):
        table.append([str(number)], vectors(number))
    assert len(list(table.folder.glob("*.npy"))) == 2
    assert contents(table) == {str(number): number for number in range(COMPACT_FROM_BLOCKS + 1)}


@pytest.mark.parametrize(
    ("ids", "wrong"),
    [
        (["a"], np.zeros((1, DIM + 1))),
        (["a", "b"], np.zeros((1, DIM))),
        (["a"], np.zeros(DIM)),
        (["a", "b"], np.array([[0.0] * DIM, [0.0, np.nan, 0.0]])),
        (["a"], np.full((1, DIM), np.inf)),
        (["a"], np.full((1, DIM), 1e300)),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow")
def test_wrong_vectors_are_refused_and_nothing_is_written(
    table: EmbeddingTable, ids: list[str], wrong: np.ndarray
) -> None:
    table.append(["kept"], vectors(1))
    before = sorted(path.name for path in table.folder.iterdir())
    with pytest.raises(ValueError, match="vectors"):
        table.append(ids, wrong)
    assert sorted(path.name for path in table.folder.iterdir()) == before
    assert contents(EmbeddingTable.open(table.folder)) == {"kept": 1}


def test_a_table_takes_no_vectors_of_another_encoder_or_dimension(tmp_path: Path, table: EmbeddingTable) -> None:
    with pytest.raises(CorruptFileError, match="3-dimensional"):
        EmbeddingTable.create(tmp_path, "encoder", DIM + 1)
    EmbeddingTable.create(tmp_path, "another", DIM + 1)
    assert {one.encoder_id: one.dim for one in EmbeddingTable.all(tmp_path)} == {"encoder": DIM, "another": DIM + 1}


@pytest.mark.parametrize("suffix", [".npy", ".ids.json"])
def test_one_altered_byte_is_noticed(table: EmbeddingTable, suffix: str) -> None:
    table.append(["a", "b"], vectors(1, 2))
    table.verify()
    block = next(table.folder.glob(f"*{suffix}"))
    content = bytearray(block.read_bytes())
    content[-3] ^= 1
    block.write_bytes(content)
    with pytest.raises(CorruptFileError, match="checksum"):
        EmbeddingTable.open(table.folder).verify()
    block.unlink()
    with pytest.raises(CorruptFileError, match="missing"):
        EmbeddingTable.open(table.folder).verify()


@pytest.mark.parametrize("content", [b"", b"{", b'{"format": 99}', b"{}", b"[]"])
def test_a_damaged_manifest_is_no_table(table: EmbeddingTable, content: bytes) -> None:
    (table.folder / "table.json").write_bytes(content)
    with pytest.raises(CorruptFileError, match=table.folder.name):
        EmbeddingTable.open(table.folder)


ids = st.sampled_from("abcdef")
operations = st.one_of(
    st.tuples(st.just("append"), st.lists(st.tuples(ids, st.integers(0, 99)), max_size=4)),
    st.tuples(st.just("remove"), st.lists(ids, max_size=3)),
    st.tuples(st.just("compact"), st.none()),
    st.tuples(st.just("reopen"), st.none()),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(operations, max_size=12))
def test_a_table_behaves_like_a_dictionary(steps: Sequence[tuple[str, list]]) -> None:
    model: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        table = EmbeddingTable.create(Path(folder), "encoder", DIM)
        for name, given_to_it in steps:
            if name == "append":
                names, values = [name for name, _ in given_to_it], [value for _, value in given_to_it]
                table.append(names, vectors(*values))
                model |= dict(given_to_it)
            elif name == "remove":
                table.remove(given_to_it)
                model = {name: value for name, value in model.items() if name not in given_to_it}
            elif name == "compact":
                table.compact()
            else:
                table = EmbeddingTable.create(Path(folder), "encoder", DIM)
            assert contents(table) == model and len(table) == len(model)
        table.verify()


@settings(max_examples=300)
@given(st.text(min_size=1, max_size=150), st.text(min_size=1, max_size=150))
def test_different_encoders_have_different_folders(one: str, other: str) -> None:
    names = folder_name(one), folder_name(other)
    assert (names[0] == names[1]) == (one == other)
    assert all(name.isascii() and "/" not in name and not name.startswith(".") and len(name) <= 120 for name in names)


# ---- Crashes and crowds --------------------------------------------------------------------------------------

WRITER = f"""
import itertools, sys
from pathlib import Path
import numpy as np
from data.embeddings import EmbeddingTable
table = EmbeddingTable.create(Path(sys.argv[1]), "encoder", {DIM})
for number in itertools.count(int(sys.argv[2])):
    table.append([f"v{{number}}", f"w{{number}}"], np.full((2, {DIM}), number, np.float32))
    if number % 7 == 0:
        table.compact()
    print(number, flush=True)
"""


def test_a_killed_writer_leaves_a_sound_table_with_all_it_reported(tmp_path: Path) -> None:
    reported: list[int] = []
    for kill in range(10):
        command = [sys.executable, "-c", WRITER, str(tmp_path), str(1_000 * kill)]
        writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        lines = [writer.stdout.readline() for _ in range(2 + 3 * kill)]
        writer.kill()
        reported += [int(line) for line in [*lines, *writer.communicate()[0].splitlines()]]
        (table,) = EmbeddingTable.all(tmp_path)
        table.verify()
        rows = contents(table)
        assert {f"{letter}{number}": number for number in reported for letter in "vw"}.items() <= rows.items()
        assert {name[1:] for name in rows if name[0] == "v"} == {name[1:] for name in rows if name[0] == "w"}
    table.compact()
    assert len(list(table.folder.glob("*block-*"))) == 2, "what the killed ones left behind is swept away"


def at_once(work: Callable[[int], None], threads: int) -> None:
    """Runs work(0), work(1), … in as many threads, all released at the same moment."""
    gate = threading.Barrier(threads)

    def run(number: int) -> None:
        gate.wait()
        work(number)

    running = [threading.Thread(target=run, args=(number,)) for number in range(threads)]
    for thread in running:
        thread.start()
    for thread in running:
        thread.join()


def test_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    """Each opened the table before the others wrote."""
    tables = [EmbeddingTable.create(tmp_path, "encoder", DIM) for _ in range(4)]

    def write(number: int) -> None:
        for step in range(5):
            tables[number].append([f"{number}-{step}"], vectors(step))
        tables[number].remove([f"{number}-0"])

    at_once(write, 4)
    table = EmbeddingTable.create(tmp_path, "encoder", DIM)
    table.verify()
    assert contents(table) == {f"{number}-{step}": step for number in range(4) for step in range(1, 5)}


def test_who_creates_a_table_at_once_with_others_loses_nothing(tmp_path: Path) -> None:
    for turn in range(3):
        root = tmp_path / str(turn)
        at_once(
            lambda number, root=root: EmbeddingTable.create(root, "encoder", DIM).append(
                [str(number)], vectors(number)
            ),
            6,
        )
        assert contents(EmbeddingTable.create(root, "encoder", DIM)) == {str(number): number for number in range(6)}
