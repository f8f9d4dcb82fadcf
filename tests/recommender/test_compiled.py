"""Compiled loops: for the types that they name alone, and also where nothing can be kept."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from recommender.ordering import best_first
from recommender.pipeline.merging import mark_if_behind

LOOP = """
import numpy as np

from recommender.compiled import compiled, reads, writes


@compiled(reads("float32"), writes("float32"))
def halve(values, halves):
    for place in range(len(values)):
        halves[place] = values[place] / 2


halves = np.zeros(2, np.float32)
halve(np.array([1, 3], np.float32), halves)
print(halves.tolist())
"""


def test_a_loop_runs_where_no_folder_can_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "loop.py").write_text(LOOP)
    # Numba would keep it beside the source or below the home.
    for name in ("__pycache__", "home"):
        (tmp_path / name).touch()
    variables = {"HOME": str(tmp_path / "home"), "XDG_CACHE_HOME": str(tmp_path / "home")}
    variables |= {"PYTHONPATH": str(Path(__file__).parents[2]), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "loop.py"], cwd=tmp_path, env=variables, capture_output=True, text=True)
    assert done.stdout == "[0.5, 1.5]\n", done.stderr


def test_what_was_read_from_files_may_be_looked_at_and_not_written_to() -> None:
    fixed = np.array([1.0, 3.0, 2.0], np.float32)
    fixed.flags.writeable = False
    assert best_first(fixed).tolist() == [1, 2, 0]
    found_by = np.zeros(3, np.uint32)
    found_by.flags.writeable = False
    with pytest.raises(TypeError):
        mark_if_behind(fixed, np.arange(3), fixed, 0.05, 1, found_by)
