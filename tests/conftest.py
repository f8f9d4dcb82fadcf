"""What all tests share: real homes, real databases, real servers; and the rule on skips."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from data.home import Home
from data.store import Store

REPOSITORY = Path(__file__).parents[1]

#: Reasons for which a test may be skipped even where skips are forbidden: the data is not the project's to ship, and
#: only who works on the TypeScript client has its compiler.
ALLOWED_SKIPS = ("shared data folder", "TypeScript compiler")


#: Files that take longest: they begin first, so that no process is left with one at the end.
LONGEST = (
    "test_faults.py",
    "test_benchmarks.py",
    "test_demonstration.py",
    "test_refresh.py",
    "test_server.py",
    "test_cli.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: LONGEST.index(item.path.name) if item.path.name in LONGEST else len(LONGEST))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Where TESTS_FORBID_SKIPS is set (in CI), a skip that nobody expected is a failure."""
    if report.skipped and "TESTS_FORBID_SKIPS" in os.environ and not hasattr(report, "wasxfail"):
        reason = str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr)
        if not any(allowed in reason for allowed in ALLOWED_SKIPS):
            report.outcome = "failed"
            report.longrepr = f"skipped where skips are forbidden: {reason}"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.at(tmp_path / "home")


@pytest.fixture
def store(home: Home) -> Iterator[Store]:
    opened = Store.open(home.database_url)
    yield opened
    opened.close()


def shared_folder() -> Path:
    """Where real data sets are that are not shipped: beside the repository, or where TESTS_SHARED_DATA says."""
    return Path(os.environ.get("TESTS_SHARED_DATA", REPOSITORY.parent / "shared" / "data"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    folder = shared_folder()
    if not folder.is_dir():
        pytest.skip(f"the shared data folder {folder} is not here")
    return folder


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A real redis-server on a unix socket: its URL."""
    binary = shutil.which("redis-server")
    if binary is None:
        pytest.skip("redis-server is not installed")
    folder = tmp_path_factory.mktemp("redis")
    process = subprocess.Popen(
        [binary, "--port", "0", "--unixsocket", str(folder / "redis.sock"), "--save", "", "--dir", str(folder)],
        stdout=subprocess.DEVNULL,
    )
    url = f"unix://{folder / 'redis.sock'}"
    _wait_for_redis(url)
    yield url
    process.terminate()
    process.wait(10)


def _wait_for_redis(url: str) -> None:
    import redis
    from redis.backoff import ConstantBackoff
    from redis.retry import Retry

    client = redis.Redis.from_url(
        url, retry=Retry(ConstantBackoff(0.05), 200), retry_on_error=[ConnectionError, OSError]
    )
    assert client.ping()
    client.close()


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A real PostgreSQL server of the installed version, as an unprivileged user: its URL."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("PostgreSQL is not installed")
    binaries = found[-1].parent
    # Not below pytest's own folder, which other runs of pytest clear when it is the oldest.
    with tempfile.TemporaryDirectory(prefix="watchnext-postgres-") as folder:
        # PostgreSQL refuses to run as root; its own user runs it then.
        as_user: list[str] = []
        if os.geteuid() == 0:
            as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"]
            shutil.chown(folder, "postgres", "postgres")
        data = Path(folder) / "data"
        run = {"check": True, "stdout": subprocess.DEVNULL, "cwd": folder}
        subprocess.run([*as_user, binaries / "initdb", "-D", data, "-A", "trust", "-U", "watchnext"], **run)
        port = free_port()
        options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off"
        control = [*as_user, binaries / "pg_ctl", "-D", data, "-w"]
        subprocess.run([*control, "-o", options, "-l", Path(folder) / "log", "start"], **run)
        yield f"postgresql://watchnext@127.0.0.1:{port}/postgres"
        subprocess.run([*control, "-m", "immediate", "stop"], **run)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
