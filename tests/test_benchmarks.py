"""The benchmarks run, and what they promise on real data holds. Times are printed by them and never judged here."""

from pathlib import Path

import pytest

from benchmarks import encode, foldin, imports, neighbours
from benchmarks import index as index_benchmark
from benchmarks import refresh as refresh_benchmark
from benchmarks.quality_tasks import movielens
from data.home import Home
from embedder.batch import EmbedSettings
from recommender.settings import RecommenderSettings


def test_the_served_list_on_ml_1m_leave_one_out_is_good_and_far_above_popularity(shared_data: Path) -> None:
    settings = RecommenderSettings.model_validate({"horizon": "next", "ranker": {"enabled": False}})
    result = movielens.leave_one_out(shared_data / "ml-1m", settings, alone=False, viewers=1_500)
    assert result["served"]["viewers"] == 1_500
    assert result["served"]["ndcg@10"] >= 0.14
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


def test_encoding_end_to_end_tells_speed_and_memory_beside_its_two_floors(shared_data: Path, tmp_path: Path) -> None:
    result = encode.measure(tmp_path, shared_data / "video" / "dev" / "wz_run", 6, EmbedSettings())
    assert (result["videos"], result["failed"]) == (6, 0)
    alone = [result[name]["videos_per_s"] for name in ("decode_only", "encode_only")]
    assert result["of_the_slower"] == pytest.approx(result["end_to_end"]["videos_per_s"] / min(alone))
    assert result["end_to_end"]["peak_mb"] > 100 and result["encode_only"]["core_ms_per_video"] > 10


def test_a_tower_of_known_size_takes_as_many_operations_as_it_must() -> None:
    result = encode.measure_tower("cpu", layers=1, batches=(1, 2))
    tokens, width, inner = 196, 768, 3072
    layer = 2 * tokens * (4 * width**2 + 2 * width * inner) + 4 * tokens**2 * width
    assert result["gflop_per_picture"] * 1e9 > layer
    assert [row["batch"] for row in result["curve"]] == [1, 2] and result["ceiling_tflops"] > 0


def test_a_made_library_is_searched_nearly_as_well_as_exactly_with_and_without_filters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(index_benchmark, "ASKED", 50)
    monkeypatch.setattr(index_benchmark, "FILTERED_ASKED", 20)
    result = index_benchmark.measure(25_000, [100], with_peers=False, threads=2)
    points = {name: each["points"][0]["recall"] for name, each in result["indexes"].items()}
    assert points["watchnext"] >= 0.98 and points["watchnext int8"] >= 0.95
    for found in result["filtered"].values():
        assert found["exact"]["recall"] == 1.0 and found["watchnext"]["recall"] >= 0.97


def test_a_made_service_is_refreshed_twice_beside_its_floor(tmp_path: Path) -> None:
    result = refresh_benchmark.measure(Home.at(tmp_path / "home"), 2_000, 100, 1_000)
    assert 1_000 < result["events"] <= 2_000
    for each in (result["first"], result["next"]):
        assert each["gates"]["recall"] == 1.0 and each["ratio"] > 0 and each["estimated_mb"] > 0
