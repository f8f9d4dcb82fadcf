"""The command line as people use it: real processes, one line for an error, JSON where something is listed."""

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from api.cli import main
from data.home import Home
from data.schema import Event, Video
from data.store import Store
from data.store.exposures import ITEM, Exposure, Words
from tests.conftest import REPOSITORY
from tests.embedder.made_clips import write_video
from tests.embedder.made_models import save_model

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(home: Home, tmp_path: Path) -> Run:
    def watchnext(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "api.cli", *map(str, arguments), "--home", str(home.root)]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)

    return watchnext


@pytest.fixture
def run_here(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Like `run`, in this process: for tests of many commands, each of which would import everything again."""
    monkeypatch.setenv("WATCHNEXT_HOME", str(home.root))
    monkeypatch.chdir(tmp_path)

    def watchnext(*arguments: object) -> subprocess.CompletedProcess[str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main([str(argument) for argument in arguments])
        told = capsys.readouterr()
        return subprocess.CompletedProcess(arguments, int(exit_.value.code or 0), told.out, told.err)

    return watchnext


def fine(done: subprocess.CompletedProcess[str]) -> str:
    assert done.returncode == 0, done.stderr
    return done.stdout


def movielens(folder: Path) -> Path:
    folder.mkdir()
    movies = "".join(f"{n},Film {n} (1999),{'Comedy' if n % 2 else 'Drama'}\n" for n in range(1, 31))
    (folder / "movies.csv").write_text("movieId,title,genres\n" + movies)
    ratings = "".join(
        f"{user},{1 + (user * 2 + 2 * place) % 30},4.0,{1_000_000_000 + user * 100 + place}\n"
        for user in range(1, 21)
        for place in range(6)
    )
    (folder / "ratings.csv").write_text("userId,movieId,rating,timestamp\n" + ratings)
    return folder


def test_from_histories_to_a_list_and_back_a_release(run: Run, tmp_path: Path) -> None:
    assert "120 kept" in fine(run("events", "import", movielens(tmp_path / "ml")))
    first = json.loads(fine(run("refresh", "--json")))["release"]["id"]
    answer = json.loads(fine(run("recommend", "7", "--limit", "3", "--json")))
    assert len(answer["items"]) == 3 and answer["items"][0]["reason"]["code"] == "because_you_watched"
    assert "Because you watched" in fine(run("recommend", "7"))
    top = answer["items"][0]["video_id"]
    assert json.loads(fine(run("why", "7", top, "--json")))["rank"] == 1
    assert json.loads(fine(run("similar", top, "--json")))["items"]
    fine(run("videos", "hide", top))
    left = json.loads(fine(run("recommend", "7", "-n", "100", "--json")))["items"]
    assert top not in {item["video_id"] for item in left}
    second = json.loads(fine(run("refresh", "--json")))["release"]["id"]
    listed = json.loads(fine(run("releases", "list", "--json")))["items"]
    assert [(each["id"], each["current"]) for each in listed] == [(second, True), (first, False)]
    assert first in fine(run("releases", "rollback"))
    assert json.loads(fine(run("releases", "show", "--json")))["id"] == first
    assert "as they were written" in fine(run("releases", "verify"))
    fine(run("releases", "prune", "--keep", "1"))
    assert json.loads(fine(run("events", "tail", "-n", "2", "--json")))["items"][0]["type"] == "rate"
    assert json.loads(fine(run("videos", "list", "--label", "Comedy", "--json")))["counts"] == {"no_media": 30}


def test_a_table_of_events_is_mapped_and_bad_rows_are_kept_aside(run: Run, tmp_path: Path) -> None:
    fine(run("events", "import", movielens(tmp_path / "ml")))
    table = tmp_path / "plays.csv"
    table.write_text(
        "who,what,when,share\nann,3,2026-01-01T00:00:00Z,0.9\nann,999,2026-01-01T00:00:00Z,0.9\nbob,4,soon,0.9\n"
    )
    mapping = ["--map", "user_id=who", "--map", "video_id=what", "--map", "occurred_at=when", "--map", "value=share"]
    report = json.loads(fine(run("events", "import", table, *mapping, "--set", "type=watch", "--json")))
    assert (report["read"], report["kept"]) == (3, 1)
    assert report["rejected"] == {"unknown_video": 1, "occurred_at": 1}
    rows = [json.loads(line) for line in Path(report["rejected_rows"]).read_text().splitlines()]
    assert [(row["row"], row["content"]["user_id"]) for row in rows] == [(2, "ann"), (3, "bob")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["videos", "add", "/no/such/folder"], "no such folder"),
        (["videos", "show", "x"], "no video 'x'"),
        (["videos", "list", "--state", "lost"], "there are pending, ready, failed, no_media"),
        (["events", "import", "/no/such.csv"], "no such file"),
        (["events", "import", __file__], "what format"),
        (["events", "import", __file__, "--map", "nonsense"], "NAME=VALUE"),
        (["refresh"], "the catalogue is empty"),
        (["releases", "show"], "there is no release yet"),
        (["releases", "rollback", "x"], "no release 'x'"),
        (["labels", "train"], "label"),
        (["similar", "x"], "no video 'x'"),
        (["keys", "create", "me", "--role", "king"], "role must be one of"),
        (["keys", "revoke", "x"], "no live key"),
        (["rules", "add", "hide", "--video", "x"], "'pin', 'boost' or 'block'"),
        (["rules", "add", "block"], "exactly one of video, label, creator, series"),
        (["rules", "add", "boost", "--label", "x"], "a boost needs a factor"),
        (["rules", "add", "block", "--label", "x", "--from", "soon"], "from: 'soon' is not a time"),
        (["rules", "add", "pin", "--video", "x", "--position", "1"], "no video 'x'"),
        (["rules", "remove", "x"], "no rule 'x'"),
        (["bench", "nothing"], "no benchmark 'nothing'"),
        (["serve", "--host", "0.0.0.0"], "no API key is configured"),
        (["serve", "--port", "70000"], "65535"),
        (["videos", "retry", "x"], "no video 'x'"),
        (["events", "import", __file__, "--set", "type=zap"], "no such event type: zap"),
        (["recommend", "anna", "--country", "usa"], "two letters"),
        (["recommend", ""], "not empty"),
        (["--home", __file__, "videos", "list"], "exists"),
        (["dance"], "dance"),
    ],
)
def test_an_error_is_one_line_without_a_traceback_and_exit_code_2(
    arguments: list[str],
    message: str,
    home: Home,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("WATCHNEXT_HOME", str(home.root))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as exit_:
        main(arguments)
    assert exit_.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1 and message in lines[0]


def test_keys_are_shown_once_and_listed_without_their_secret(run: Run, home: Home) -> None:
    secret = fine(run("keys", "create", "front end")).strip()
    listed = fine(run("keys", "list", "--json"))
    assert secret not in listed and "front end" in listed
    assert secret.encode() not in (home.root / "watchnext.db").read_bytes()
    fine(run("keys", "revoke", json.loads(listed)["items"][0]["id"]))


def test_rules_are_added_listed_and_removed(run_here: Run) -> None:
    dates = ["--from", "2026-02-01", "--until", "2026-03-01T12:00:00Z"]
    added = json.loads(
        fine(
            run_here("rules", "add", "boost", "--label", "Comedy", "--factor", 1.5, *dates, "--country", "de", "--json")
        )
    )
    assert "pin creator ann at 2" in fine(run_here("rules", "add", "pin", "--creator", "ann", "--position", 2))
    items = json.loads(fine(run_here("rules", "list", "--json")))["items"]
    assert items[0] == added and [each["kind"] for each in items] == ["boost", "pin"]
    assert (added["country"], added["from"], added["until"]) == ("DE", "2026-02-01T00:00:00Z", "2026-03-01T12:00:00Z")
    assert "boost label Comedy by 1.5" in fine(run_here("rules", "list"))
    fine(run_here("rules", "remove", added["id"]))
    assert [each["id"] for each in json.loads(fine(run_here("rules", "list", "--json")))["items"]] == [items[1]["id"]]


def test_the_doctor_names_every_part_and_what_is_missing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    checks = {check["name"]: check for check in json.loads(run("doctor", "--json").stdout)["checks"]}
    assert checks["torch"]["ok"] and checks["encoder"]["ok"] and checks["database"]["ok"]
    assert "efficientnet-lite0" in checks["encoder"]["detail"] and "frames by" in checks["encoder"]["detail"]
    assert "torchvision" not in checks or checks["torchvision"]["ok"]
    monkeypatch.setenv("WATCHNEXT_EMBED__ENCODER__NAME", "hub:nowhere/at-all")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    ill = run("doctor", "--json")
    checks = {check["name"]: check for check in json.loads(ill.stdout)["checks"]}
    assert ill.returncode == 1 and not checks["encoder"]["ok"] and "nowhere/at-all" in checks["encoder"]["detail"]


def test_videos_go_from_files_to_neighbours(run: Run, shared_data: Path, tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    for label in ("wz_bend", "wz_jack", "sky_drone", "ut_hug"):
        folder = clips / label
        folder.mkdir(parents=True)
        for path in sorted((shared_data / "video" / "dev" / label).iterdir())[:6]:
            shutil.copy(path, folder)
    (clips / "broken.mp4").write_bytes(b"this is no video")
    rows = [f"{path.relative_to(clips)},{path.parent.name}" for path in sorted(clips.rglob("g*")) if path.is_file()]
    (clips / "labels.csv").write_text("path,label\n" + "\n".join(rows))
    assert json.loads(fine(run("videos", "add", clips, "--labels", clips / "labels.csv", "--json")))["kept"] == 25
    embedded = json.loads(fine(run("embed", "--json")))
    assert (embedded["encoded"], sum(embedded["failed"].values())) == (24, 1)
    assert json.loads(fine(run("embed", "--json")))["encoded"] == 0
    trained = json.loads(fine(run("labels", "train", "--json")))
    assert set(trained["examples"]) == {"wz_bend", "wz_jack", "sky_drone", "ut_hug"} and trained["accuracy"] > 0.6
    fine(run("refresh"))
    seed = next(path for path in sorted((clips / "sky_drone").iterdir()))
    found = json.loads(fine(run("similar", f"sky_drone~{seed.name}", "--by", "visual", "-n", "3", "--json")))
    assert [item["labels"] for item in found["items"]] == [["sky_drone"]] * 3
    failed = json.loads(fine(run("videos", "list", "--state", "failed", "--json")))["items"]
    assert [item["id"] for item in failed] == ["broken.mp4"] and failed[0]["reason"]
    assert "1 pending again" in fine(run("videos", "retry"))


def test_another_encoder_takes_over_while_the_old_release_serves_and_words_find_videos(
    run_here: Run, tmp_path: Path
) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    titles = {"one.mp4": "A puppy runs after its ball", "two.mp4": "The snooker final", "three.mp4": "Baking bread"}
    for number, name in enumerate(titles):
        write_video(clips / name, seed=number)
    rows = "".join(f"{name},{title}\n" for name, title in titles.items())
    (clips / "titles.csv").write_text("path,title\n" + rows)
    fine(run_here("videos", "add", clips, "--labels", clips / "titles.csv"))
    seeing = json.loads(fine(run_here("embed", "--json")))["encoder"]
    fine(run_here("refresh"))
    assert "understands no words" in run_here("search", "dog", "--mode", "pixels").stderr
    assert "Baking bread" in fine(run_here("search", "bred"))

    (tmp_path / "watchnext.toml").write_text('[embed.encoder]\nname = "text"\n')
    assert f"was made with {seeing}" in run_here("search", "dog", "--mode", "pixels").stderr
    reading = fine(run_here("embed"))
    assert (
        "encoder minilm-l6-v2@" in reading
        and "licence of its weights: Apache-2.0" in reading
        and "3 encoded" in reading
    )
    assert json.loads(fine(run_here("similar", "one.mp4", "--json")))["items"], (
        "the old release serves until the refresh"
    )
    assert json.loads(fine(run_here("releases", "show", "--json")))["encoder"] == seeing
    fine(run_here("refresh"))
    assert json.loads(fine(run_here("releases", "show", "--json")))["encoder"] != seeing

    def found(text: str) -> list[str]:
        return [item["video_id"] for item in json.loads(fine(run_here("search", text, "--json")))["items"]]

    assert found("a dog playing")[0] == "one.mp4" and found("billiards")[0] == "two.mp4"
    fine(run_here("videos", "hide", "one.mp4"))
    assert found("a dog playing")[0] != "one.mp4"
    assert "Baking bread" in fine(run_here("search", "cooking", "-n", "1"))
    assert "nothing to look for" in run_here("search", " ").stderr


def test_a_model_of_a_folder_encodes_and_its_licence_is_printed(run_here: Run, tmp_path: Path) -> None:
    save_model(tmp_path / "model", "videomae", licence="cc-by-nc-4.0")
    (tmp_path / "watchnext.toml").write_text('[embed.encoder]\nname = "hub:model"\n')
    (tmp_path / "clips").mkdir()
    write_video(tmp_path / "clips" / "one.mp4")
    fine(run_here("videos", "add", tmp_path / "clips"))
    told = fine(run_here("embed"))
    assert "hub:model@" in told and "licence of its weights: cc-by-nc-4.0" in told and "1 encoded" in told


def test_help_stands_on_every_level(run: Run) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "api.cli", "releases", "--help"], capture_output=True, text=True, cwd=REPOSITORY
    )
    assert "rollback" in fine(done)
    assert "quality" in fine(run("bench"))


def test_what_was_shown_is_listed(run_here: Run, home: Home) -> None:
    store = Store.open(home.database_url)
    store.catalogue.upsert([Video(id="v1")])
    items = np.zeros(1, ITEM)
    items["number"], items["propensity"], items["rule"] = 1, 0.25, -1
    words = Words(("popular",), (), ("age",))
    features = np.full((1, 1), 2.0, np.float16)
    store.exposures.add([Exposure("r1", "ada", 0.0, "home", None, "rel", "s", "off", 1, words, items, features)])
    store.close()
    (told,) = json.loads(fine(run_here("exposures", "list", "--json")))["items"]
    assert (told["request_id"], told["items"][0]["propensity"]) == ("r1", 0.25)
    assert told["items"][0]["features"] == {"age": 2.0}
    table = fine(run_here("exposures", "list", "--user", "ada"))
    assert "1970-01-01T00:00:00Z" in table and "v1" in table
    assert "v1" not in fine(run_here("exposures", "list", "--user", "bob"))


def test_a_viewer_is_erased_when_somebody_says_so(run_here: Run, home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Store.open(home.database_url)
    store.catalogue.upsert([Video(id="v1")])
    store.events.add([Event(event_id=who, user_id=who, video_id="v1", type="like", occurred_at=1.0) for who in "ab"])
    store.close()
    for said in ("n\n", ""):
        monkeypatch.setattr("sys.stdin", io.StringIO(said))
        done = run_here("events", "erase", "a")
        assert done.returncode == 2 and "stopped" in done.stderr
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    told = fine(run_here("events", "erase", "a"))
    assert "a is erased: 1 events, 0 shown lists; receipt" in told and "digest" not in told
    receipt = json.loads(fine(run_here("events", "erase", "a", "--yes", "--json")))
    assert receipt["erased"] == {"events": 0, "exposures": 0, "cache": True}
    assert [row["user_id"] for row in json.loads(fine(run_here("events", "tail", "--json")))["items"]] == ["b"]
