"""Settings: one file, variables that win, and no key that nobody knows."""

from pathlib import Path

import pytest

from api.settings import SettingsError, load_settings, setting_names


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REDIS_URL", raising=False)
    return tmp_path


def test_the_file_is_read_variables_win_over_it_and_given_values_over_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "watchnext.toml").write_text(
        "[server]\nport = 9000\nworkers = 3\n[recommender.profile]\nrecent_items = 7\n"
    )
    assert load_settings().server.port == 9000
    monkeypatch.setenv("WATCHNEXT_SERVER__PORT", "9001")
    settings = load_settings(database_url="sqlite:///x.db")
    assert (settings.server.port, settings.server.workers, settings.database_url) == (9001, 3, "sqlite:///x.db")
    assert settings.recommender.profile.recent_items == 7


def test_a_file_elsewhere_is_named_by_a_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "other.toml").write_text("[server]\nport = 9002\n")
    monkeypatch.setenv("WATCHNEXT_CONFIG", str(tmp_path / "other.toml"))
    assert load_settings().server.port == 9002
    monkeypatch.setenv("WATCHNEXT_CONFIG", str(tmp_path / "missing.toml"))
    with pytest.raises(SettingsError, match="no file"):
        load_settings()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[server]\nprot = 1\n", r"server.prot is no setting; did you mean server.port\?"),
        ("[recommender.pipeline]\nreserv = 1\n", r"did you mean recommender.pipeline.reserve\?"),
        ("[server]\nport = 70000\n", r"server.port: .*65535"),
        ("[server\n", "watchnext.toml"),
        ("colour = 1\n", "colour is no setting"),
    ],
)
def test_a_wrong_file_is_refused_with_the_key_and_what_would_be_right(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "watchnext.toml").write_text(text)
    with pytest.raises(SettingsError, match=message):
        load_settings()


def test_an_unknown_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHNEXT_SERVER__PROT", "1")
    with pytest.raises(SettingsError, match="did you mean WATCHNEXT_SERVER__PORT"):
        load_settings()


def test_a_variable_that_should_be_a_table_says_how(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHNEXT_EMBED__ENCODER__PARTS", "text")
    with pytest.raises(SettingsError, match="written as JSON") as refused:
        load_settings()
    assert "\n" not in str(refused.value)


def test_redis_url_is_read_under_its_usual_name_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_URL", "redis://cache:6379/0")
    assert load_settings().redis_url == "redis://cache:6379/0"


def test_every_setting_has_a_name_with_dots() -> None:
    assert {"home", "server.port", "cache.ttl_s", "recommender.pipeline.reserve"} <= set(setting_names())
