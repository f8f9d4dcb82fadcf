"""What is generated of the clients is what the API's description says now."""

import pytest

from api.operations import OPERATIONS, Operation
from clients.generate import HERE, generated

GENERATED = generated()


@pytest.mark.parametrize("path", GENERATED)
def test_the_clients_fit_the_api(path: str) -> None:
    written = (HERE / path).read_text(encoding="utf-8")
    assert written == GENERATED[path], f"clients/{path} is of another API than this one: run `make clients`"


@pytest.mark.parametrize("each", OPERATIONS, ids=lambda each: each.name)
def test_every_operation_can_be_called(each: Operation) -> None:
    first, *others = each.name.split("_")
    assert GENERATED["python/watchnext_client/operations.py"].count(f"def {each.name}(") == 2
    assert f"\n  {first}{''.join(word.title() for word in others)}(" in GENERATED["typescript/src/operations.ts"]
