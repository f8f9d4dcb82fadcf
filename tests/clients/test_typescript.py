"""The TypeScript client: it compiles, and asks a real server from Node.js. Its generated files: test_generated.py."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.clients.conftest import Served
from tests.conftest import REPOSITORY

PACKAGE = REPOSITORY / "clients" / "typescript"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The client, and what its README shows, as the compiler makes it with every check it knows."""
    own = PACKAGE / "node_modules" / ".bin" / "tsc"
    compiler = str(own) if own.exists() else shutil.which("tsc")
    if compiler is None or shutil.which("node") is None:
        pytest.skip("the TypeScript compiler is not installed: npm ci in clients/typescript")
    folder = tmp_path_factory.mktemp("built")
    for name in ("package.json", "tsconfig.json", "src"):
        copy = shutil.copytree if (PACKAGE / name).is_dir() else shutil.copy
        copy(PACKAGE / name, folder / name)
    shown = re.findall(r"```ts\n(.*?)```", (PACKAGE / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    (folder / "src" / "readme.ts").write_text("\n".join(shown).replace('"watchnext-client"', '"./index.js"'))
    made = subprocess.run([compiler, "--project", str(folder)], capture_output=True, text=True)
    assert made.returncode == 0, made.stdout
    return folder / "dist"


def test_it_asks_a_real_server(built: Path, served: Served) -> None:
    visit = Path(__file__).with_name("visit.mjs")
    command = ["node", str(visit), str(built / "index.js"), served.address, served.keys["admin"]]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stderr
    seen = json.loads(ran.stdout)
    assert seen.pop("videos") == sorted(f"space-{number}" for number in range(20))
    assert seen == {
        "user": "a/b c?é",
        "items": 5,
        "posted": 3,
        "problem": [True, 404, "unknown_video", "video_id", "abc-1"],
        "rejected": [["nowhere", "unknown_video"]],
        "waiting": 0,
        "retried": [2, True, True],
        "unreachable": True,
    }
