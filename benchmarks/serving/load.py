"""wrk as a load: connections that ask for the lists of random viewers without pause."""

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import orjson
import typer

#: The viewers are those of MovieLens-1M; each answer that is no list counts as failed.
_SCRIPT = """
local threads = 0
setup = function(thread)
  thread:set("seed", {seed} + threads)
  threads = threads + 1
end
init = function() math.randomseed(seed) end
local asked = 0
request = function()
  asked = asked + 1
  local viewer = {in_turn} and asked % {viewers} + 1 or math.random(1, {viewers})
  return wrk.format("GET", "/v1/users/" .. viewer .. "/recommendations?limit={shown}{wishes}")
end
done = function(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\\n{{"asked": %d, "req_s": %.1f, ' ..
    '"mean_ms": %.4f, "p50_ms": %.4f, "p95_ms": %.4f, "p99_ms": %.4f, "max_ms": %.3f, ' ..
    '"failed": %d}}\\n',
    summary.requests, summary.requests / summary.duration * 1e6, latency.mean / 1000, latency:percentile(50) / 1000,
    latency:percentile(95) / 1000, latency:percentile(99) / 1000, latency.max / 1000,
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"""


def require_wrk() -> str:
    found = shutil.which("wrk")
    if found is None:
        raise typer.BadParameter("wrk is not installed: apt-get install wrk, or brew install wrk")
    return found


class Load:
    """wrk in a process of its own, for so many seconds. in_turn: the viewers one after the other, not at random;
    wishes: what else is asked for, as it stands in the query."""

    def __init__(
        self,
        address: str,
        viewers: int,
        seconds: float,
        connections: int,
        shown: int,
        seed: int = 0,
        in_turn: bool = False,
        wishes: str = "",
    ) -> None:
        turn = str(in_turn).lower()
        with tempfile.NamedTemporaryFile("w", suffix=".lua", delete=False) as script:
            script.write(_SCRIPT.format(seed=seed, viewers=viewers, shown=shown, in_turn=turn, wishes=wishes))
        self._script = Path(script.name)
        command = [require_wrk(), "-t1", f"-c{connections}", f"-d{seconds:g}", "--timeout", "30s"]
        self._process = subprocess.Popen([*command, "-s", script.name, address], stdout=subprocess.PIPE)

    @property
    def is_over(self) -> bool:
        return self._process.poll() is not None

    def result(self) -> dict[str, Any]:
        """Requests a second, times, and how many failed, once it is over."""
        output, _ = self._process.communicate()
        self._script.unlink()
        if self._process.returncode != 0:
            raise RuntimeError(f"wrk ended with {self._process.returncode}")
        figures: dict[str, Any] = orjson.loads(output.strip().splitlines()[-1])
        return figures


def loaded(address: str, **asked: Any) -> dict[str, Any]:
    """The result of a load."""
    return Load(address, **asked).result()
