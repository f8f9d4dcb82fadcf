"""The benchmarks run, and what they promise on real data holds. Times are printed by them and never judged here."""

from pathlib import Path

import pytest

from benchmarks import foldin, imports, neighbours, quality


def test_the_served_list_on_ml_1m_leave_one_out_is_good_and_far_above_popularity(shared_data: Path) -> None:
    result = quality.leave_one_out(shared_data / "ml-1m", sources_alone=False)
    assert result["served"]["viewers"] == 6_040
    assert result["served"]["ndcg@10"] >= 0.10
    assert result["models"]["popularity"]["ndcg@10"] == pytest.approx(0.0178, abs=0.0005)


def test_neighbours_of_real_clips_share_their_label_more_often_than_chance(shared_data: Path) -> None:
    result = neighbours.measure(shared_data / "video", "dev")
    assert (result["clips"], result["failed"]) == (183, 0)
    assert set(result["families"]) == {"sky", "ut", "wz"}
    assert all(family["ratio"] > 2 for family in result["families"].values())


def test_an_import_keeps_every_row_and_stays_within_its_memory(tmp_path: Path) -> None:
    result = imports.measure(tmp_path, 120_000)
    assert result["kept"] == 120_000
    assert result["peak_mb"] < 1_000


def test_folding_in_a_viewer_scores_as_implicit_does() -> None:
    assert foldin.measure(turns=10)["largest_difference"] < 1e-5
