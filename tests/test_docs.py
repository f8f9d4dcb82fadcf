"""The documents tell of everything that there is: a command, setting, route or reason without a word fails."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from typer.main import get_command

from api.app import create_app
from api.cli import app
from api.settings import Settings, load_settings, setting_names
from data.home import Home
from data.schema import EventType
from embedder.media import Reason
from recommender.pipeline.sources.settings import WEIGHTS, SourcesSettings
from recommender.policy import PolicySettings
from tests.conftest import REPOSITORY

DOCS = REPOSITORY / "docs"
#: Settings that have documents of their own.
ELSEWHERE = ("recommender.policy.", "recommender.sources.")


def text(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def commands(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Any]]:
    if hasattr(command, "commands"):
        for name, below in command.commands.items():
            yield from commands(below, (*path, name))
    else:
        yield "watchnext " + " ".join(path), command


@pytest.mark.parametrize(
    ("name", "command"), commands(get_command(app)), ids=lambda value: value if isinstance(value, str) else ""
)
def test_every_command_and_option_is_documented(name: str, command: Any) -> None:
    sections = dict(re.findall(r"^## (watchnext .*)\n((?:(?!^## ).*\n?)*)", text("cli.md"), re.MULTILINE))
    assert name in sections, f"docs/cli.md has no section '## {name}'"
    assert command.help.strip() in sections[name]
    for parameter in command.params:
        for option in parameter.opts:
            if option.startswith("-") and option != "--help":
                assert f"`{option}`" in sections[name], f"docs/cli.md does not tell of {name} {option}"


def test_every_documented_command_exists() -> None:
    known = {name for name, _ in commands(get_command(app))}
    assert set(re.findall(r"^## (watchnext .*)$", text("cli.md"), re.MULTILINE)) == known


def test_every_setting_is_documented_with_its_default() -> None:
    table = text("operations.md").split("| setting |")[1].split("\n\n")[0]
    rows = dict(re.findall(r"^\| `([\w.]+)` \| (.*?) \|", table, re.MULTILINE))
    names = [name for name in setting_names() if not name.startswith(ELSEWHERE)]
    for name in names:
        assert name in rows, f"docs/operations.md does not tell of the setting {name}"
        assert rows[name] == _default(name), f"docs/operations.md gives another default for {name}"
    assert set(rows) == set(names)


def test_every_source_is_documented_with_what_is_set_of_it() -> None:
    rows = {
        name: [cell.strip() for cell in cells.split("|")]
        for name, cells in re.findall(
            r"^\| `(\w+)` \| (.*) \|$", text("recommending.md").split("| quota |")[1], re.MULTILINE
        )
    }
    for name, source in SourcesSettings():
        weights = ", ".join(str(each.get(name, 1.0)) for each in WEIGHTS.values())
        half_life = str(getattr(source, "half_life_items", ""))
        expected = [str(source.enabled).lower(), weights, half_life, str(source.candidates), f"{source.deadline_ms} ms"]
        assert rows.pop(name) == expected, f"docs/recommending.md gives other settings of the source {name}"
    assert not rows


def test_every_setting_of_the_policy_is_documented_with_its_default() -> None:
    rows = dict(re.findall(r"^\| `([\w.]+)` \| (.*?) \|", text("policy.md").split("| setting |")[1], re.MULTILINE))
    assert rows == {name: _default(name, PolicySettings) for name in setting_names(PolicySettings)}


def _default(name: str, model: type[BaseModel] = Settings) -> str:
    *sections, last = name.split(".")
    for section in sections:
        model = model.model_fields[section].annotation  # type: ignore[assignment]
    value = model.model_fields[last].get_default(call_default_factory=True)
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def test_every_route_is_documented(home: Home) -> None:
    documented = text("api.md")
    for rule in create_app(load_settings(home=home.root)).url_map.iter_rules():
        path = re.sub(r"<(?:path:)?(\w+)>", r"{\1}", rule.rule)
        for method in (rule.methods or set()) & {"GET", "POST", "PUT", "PATCH", "DELETE"}:
            assert f"{method} {path}" in documented, f"docs/api.md does not tell of {method} {path}"


def test_every_problem_code_is_documented() -> None:
    codes = set()
    for path in (REPOSITORY / "api").rglob("*.py"):
        codes |= set(re.findall(r"Problem\(\s*\d{3},\s*\"(\w+)\"", path.read_text(encoding="utf-8")))
    assert len(codes) > 5
    for code in codes:
        assert f"`{code}`" in text("api.md"), f"docs/api.md does not tell of the problem {code}"


def test_every_event_type_and_every_reason_of_a_failed_video_is_documented() -> None:
    for kind in EventType:
        assert re.search(rf"^\|.*\b{kind.value}\b.*\|", text("architecture.md"), re.MULTILINE), kind
    for reason in Reason:
        assert f"| `{reason.value}` |" in text("operations.md"), reason


@pytest.mark.parametrize("path", [REPOSITORY / "README.md", *sorted(DOCS.glob("*.md"))], ids=lambda path: path.name)
def test_every_link_between_documents_leads_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), f"{path.name} points at {target}"
