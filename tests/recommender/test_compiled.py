"""Compiled loops: for the types that they name alone, kept for the next process, and made without that, too."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from recommender.item_item import add_up
from recommender.ordering import best_first

LOOP = """
import numpy as np

from recommender.compiled import compiled, reads, writes


@compiled(reads("float32"), writes("float32"))
def halve(values, halves):
    for place in range(len(values)):
        halves[place] = values[place] / 2


halves = np.zeros(2, np.float32)
halve(np.array([1, 3], np.float32), halves)
print(halves.tolist(), sum(halve.stats.cache_hits.values()))
"""


def run(folder: Path, kept_in: Path) -> str:
    (folder / "loop.py").write_text(LOOP)
    variables = {"NUMBA_CACHE_DIR": str(kept_in), "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "-B", "loop.py"], cwd=folder, env=variables, check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_what_one_process_compiled_the_next_one_has(tmp_path: Path) -> None:
    assert [run(tmp_path, tmp_path / "kept") for _ in range(2)] == ["[0.5, 1.5] 0", "[0.5, 1.5] 1"]


@pytest.mark.parametrize("ending", ["nbi", "nbc"])
def test_what_is_damaged_is_made_anew(tmp_path: Path, ending: str) -> None:
    run(tmp_path, tmp_path / "kept")
    (damaged,) = (tmp_path / "kept").rglob(f"*halve*.{ending}")
    damaged.write_bytes(damaged.read_bytes()[:40])
    assert [run(tmp_path, tmp_path / "kept") for _ in range(3)] == ["[0.5, 1.5] 0", "[0.5, 1.5] 0", "[0.5, 1.5] 1"]


def test_a_loop_runs_where_nothing_can_be_kept(tmp_path: Path) -> None:
    (tmp_path / "kept").touch()
    assert run(tmp_path, tmp_path / "kept") == "[0.5, 1.5] 0"


def test_what_was_read_from_files_may_be_looked_at_and_not_written_to() -> None:
    fixed = np.array([1.0, 3.0, 2.0], np.float32)
    fixed.flags.writeable = False
    assert best_first(fixed).tolist() == [1, 2, 0]
    rows, begins, columns = np.zeros(1, np.int64), np.array([0, 3], np.int32), np.arange(3, dtype=np.int32)
    with pytest.raises(TypeError):
        add_up(rows, np.ones(1, np.float32), begins, columns, np.ones(3, np.float32), fixed)
