"""Editors' rules: what makes no sense is refused, what is kept comes back, and servers notice every change."""

import time

import pytest
from pydantic import ValidationError

from data.schema import Rule, RuleKind, Video, first_error
from data.store import Store


def rule(**fields: object) -> Rule:
    return Rule.model_validate(fields)


FULL = rule(
    kind="boost", label="Comedy", factor=1.5, surface="home", country="de", note="carnival",
    **{"from": "2026-02-01T00:00:00Z", "until": "2026-02-18T00:00:00Z"},
)  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({"kind": "hide", "video": "v1"}, "'pin', 'boost' or 'block'"),
        ({"kind": "block"}, "exactly one of video, label, creator, series"),
        ({"kind": "block", "video": "v1", "creator": "c"}, "exactly one of video, label, creator, series"),
        ({"kind": "boost", "video": "v1"}, "a boost needs a factor"),
        ({"kind": "boost", "video": "v1", "factor": 0}, "greater than 0"),
        ({"kind": "boost", "video": "v1", "factor": float("inf")}, "finite"),
        ({"kind": "pin", "video": "v1"}, "a pin needs a position"),
        ({"kind": "pin", "video": "v1", "position": 0}, "greater than or equal to 1"),
        ({"kind": "block", "video": "v1", "position": 1}, "a block has no position"),
        ({"kind": "pin", "video": "v1", "position": 1, "factor": 2}, "a pin has no factor"),
        ({"kind": "block", "video": "v1", "from": 2_000, "until": 2_000}, "until must be later than from"),
        ({"kind": "block", "video": "v1", "until": "soon"}, "is not a time"),
        ({"kind": "block", "video": "v1", "country": "Germany"}, "match pattern"),
        ({"kind": "block", "video": "v1", "why": "x"}, "not permitted"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(fields: dict[str, object], complaint: str) -> None:
    with pytest.raises(ValidationError) as refused:
        rule(**fields)
    assert complaint in first_error(refused.value)[1]


def test_what_was_added_comes_back_oldest_first_until_it_is_removed(store: Store) -> None:
    before = time.time()
    store.catalogue.upsert([Video(id="v1")])
    records = [store.rules.add(each) for each in (FULL, rule(kind="pin", video="v1", position=3))]
    assert store.rules.list() == records
    kept = store.rules.list()[0]
    assert {name: getattr(kept, name) for name in Rule.model_fields} == FULL.model_dump()
    assert (kept.kind, kept.target, kept.country) == (RuleKind.BOOST, ("label", "Comedy"), "DE")
    assert kept.until - kept.from_ == 17 * 86_400 and before <= kept.created_at <= time.time()
    assert store.rules.remove(kept.id) and not store.rules.remove(kept.id)
    assert store.rules.list() == records[1:]


def test_a_rule_about_a_video_that_is_not_there_is_refused(store: Store) -> None:
    store.catalogue.upsert([Video(id="v1")])
    store.catalogue.remove(["v1"])
    for name in ("v1", "v2"):
        with pytest.raises(ValueError, match=f"no video '{name}'"):
            store.rules.add(rule(kind="block", video=name))
    assert store.rules.list() == []
    store.rules.add(rule(kind="block", creator="whoever may come"))


def test_every_change_counts_the_catalogue_up_so_that_servers_notice(store: Store) -> None:
    versions = [store.catalogue.version()]
    kept = store.rules.add(FULL)
    versions.append(store.catalogue.version())
    store.rules.remove(kept.id)
    versions.append(store.catalogue.version())
    assert versions[0] < versions[1] < versions[2]
    assert store.catalogue.changed_since(versions[0]) == (versions[2], [], [])


def test_rules_are_kept_in_postgresql_too(postgres_url: str) -> None:
    store = Store.open(postgres_url)
    kept = store.rules.add(FULL)
    assert store.rules.list() == [kept]
    assert store.rules.remove(kept.id) and store.rules.list() == []
    store.close()
