"""The process in which files are decoded: `python -m embedder.decode_worker OPTIONS`, started by `isolation`.

Reads one request a line from standard input, answers on standard output, ends when standard input ends. Imports
nothing but the decoder, so that it starts quickly and what it holds can be counted.
"""

import os
import queue
import resource
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from embedder.decode import read_media
from embedder.decode_settings import DecodeSettings
from embedder.media import MediaError, Reason, Wanted
from embedder.sample_message import as_message


def main() -> None:
    options = orjson.loads(sys.argv[1])
    settings = DecodeSettings(**options["settings"])
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not end up among the answers
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # the kernel ends the process, Python is not asked
    requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(requests,), daemon=True).start()
    _limit_memory(options["memory_limit_mb"])
    _answer(answers, {"ready": True})
    while True:
        request = orjson.loads(requests.get())
        signal.setitimer(signal.ITIMER_REAL, options["time_limit_s"])
        try:
            sample = read_media(request["path"], Wanted(**request["wanted"]), settings)
        except MediaError as error:
            _answer(answers, {"reason": error.reason, "detail": error.detail})
            continue
        except Exception as error:
            traceback.print_exc()
            _answer(answers, {"reason": Reason.CRASHED, "detail": f"the decoder raised {error!r}"})
            continue
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        header, arrays = as_message(sample)
        _answer(answers, header, *(array.data for array in arrays))


def _listen(requests: "queue.SimpleQueue[bytes]") -> None:
    """Passes requests on; ends the process with the parent, also in the middle of a file."""
    for line in sys.stdin.buffer:
        requests.put(line)
    os._exit(0)


def _limit_memory(megabytes: int) -> None:
    """Caps the address space at what is used now plus `megabytes`."""
    if sys.platform == "linux":
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        limit = pages * resource.getpagesize() + megabytes * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _answer(answers: BinaryIO, header: dict[str, Any], *payload: Any) -> None:
    answers.write(orjson.dumps(header, option=orjson.OPT_APPEND_NEWLINE))
    for part in payload:
        answers.write(part)
    answers.flush()


if __name__ == "__main__":
    try:
        main()
    except BrokenPipeError:
        os._exit(0)  # the parent is gone; Python's own way out would stumble over the listening thread
