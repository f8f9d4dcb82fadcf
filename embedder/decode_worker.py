"""The process in which files are decoded: `python -m embedder.decode_worker OPTIONS`, started by `isolation`.

Reads one request a line from standard input, answers on standard output, ends when standard input ends. Imports
nothing but the decoder, so that it starts quickly and what it holds can be counted; torch only where torchcodec is
asked for, which has to prove itself before the first file.
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

from embedder.decode import fault_of, probe, read_media
from embedder.decode_settings import DecodeSettings
from embedder.media import PYAV, Decoder, MediaError, MediaSample, NotTakenError, Reason, Wanted
from embedder.sample_message import as_message


def main() -> None:
    options = orjson.loads(sys.argv[1])
    settings = DecodeSettings(**options["settings"])
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints must not end up among the answers
    signal.signal(signal.SIGALRM, signal.SIG_DFL)  # the kernel ends the process, Python is not asked
    requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(requests,), daemon=True).start()
    fault = fault_of(options["decoder"])
    _limit_memory(options["memory_limit_mb"], options["decoder"])
    _answer(answers, {"fault": fault})
    while True:
        request = orjson.loads(requests.get())
        signal.setitimer(signal.ITIMER_REAL, options["time_limit_s"])
        try:
            path, wanted = request["path"], Wanted(**request["wanted"])
            sample = read_media(path, wanted, settings) if wanted.media else MediaSample(probe(path, settings))
        except NotTakenError as error:
            _answer(answers, {"not_taken": str(error)})
            continue
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


def _limit_memory(megabytes: int, decoder: Decoder) -> None:
    """Caps the address space at what is used now plus `megabytes`.

    CUDA reserves addresses that it never uses, at any time: beside it only memory that can be written is counted.
    """
    if sys.platform == "linux":
        kind, name = (resource.RLIMIT_AS, "VmSize:") if decoder == PYAV else (resource.RLIMIT_DATA, "VmData:")
        used = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
        limit = int(used.split()[1]) * 1024 + megabytes * 2**20
        resource.setrlimit(kind, (limit, limit))


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
