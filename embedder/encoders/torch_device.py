"""Running a torch network over many pictures: batches that fit the device, copies that overlap with the computing.

Batches are formed across videos. On CUDA their size follows from the free memory and from what the first batch took,
but a call is at least `BATCHES_A_CALL` of them, so that the next part travels while the network works; what does not
fit all the same is halved until it does. Knows no network. Importing it imports torch (seconds).
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from embedder.encoders import EncoderError

#: From a batch to its outputs, row by row.
Network = Callable[[Tensor], tuple[Tensor, ...]]
DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
#: Rows of the first batch on CUDA, from whose memory the size of the others follows.
FIRST_BATCH = 16
LARGEST_BATCH = 1024
#: Rows of a batch on a CPU: more are slower, the activations leave the cache.
CPU_BATCH = 16
#: Share of the free memory that a batch may take: another process may be on the device.
SHARE_OF_MEMORY = 0.7
BATCHES_A_CALL = 4


class TorchDevice:
    """Where a network computes, and in which numbers. `dtype`: "bf16" or "fp32"; "auto": bf16 on CUDA, else fp32.
    `compiled`: whether networks that `prepared` gave are compiled when they first run (a minute or more).
    `cpu_batch`: rows of a batch on a CPU. Raises EncoderError when there is no such device."""

    def __init__(self, device: str, dtype: str = "auto", compiled: bool = False, cpu_batch: int = CPU_BATCH) -> None:
        self.device = torch.device(device)
        self.is_cuda = self.device.type == "cuda"
        if self.is_cuda and not torch.cuda.is_available():
            raise EncoderError("torch finds no CUDA device here: set embed.encoder.device to auto or cpu")
        if dtype == "auto":
            dtype = "bf16" if self.is_cuda else "fp32"
        self.dtype = DTYPES[dtype]
        #: "dtype/runtime", as it stands in an encoder's id.
        self.name = f"{dtype}/torch-{self.device.type}" + ("-compiled" if compiled else "")
        self._compiled = compiled
        self._batch = FIRST_BATCH if self.is_cuda else cpu_batch
        self._measured = not self.is_cuda
        self._copies = torch.cuda.Stream(self.device) if self.is_cuda else None

    def prepared(self, network: Network) -> Network:
        """The network as `run` is to be given it."""
        if not self._compiled:
            return network
        compiled = torch.compile(network)

        def once_for_all_sizes(batch: Tensor) -> tuple[Tensor, ...]:
            rows = len(batch)
            if rows == 1:  # a single row would be compiled for itself
                batch = torch.cat([batch, batch])
            torch._dynamo.mark_dynamic(batch, 0)
            return tuple(output[:rows] for output in compiled(batch))

        return once_for_all_sizes

    def run(
        self,
        network: Network,
        parts: Sequence[np.ndarray],
        prepare: Callable[[Tensor], Tensor] | None = None,
    ) -> tuple[np.ndarray, ...]:
        """The outputs (rows, ...) float32 of a network for all rows of all parts, in their order.

        `parts`: at least one array (n, ...), n >= 1. `prepare`: from one part on the device to the network's input,
        row by row (None: as it is); parts may differ in size before it, not behind it. Raises EncoderError when the
        device's memory does not hold a single row or part.
        """
        done: list[tuple[Tensor, ...]] = []
        limit = max(1, -(-sum(map(len, parts)) // BATCHES_A_CALL)) if self.is_cuda else self._batch
        try:
            with torch.inference_mode():
                waiting: list[Tensor] = []
                for part in self._on_device(parts):
                    waiting.append(part if prepare is None else prepare(part))
                    if sum(map(len, waiting)) >= min(self._batch, limit):
                        waiting = self._compute(network, torch.cat(waiting), done, limit, all_of_it=False)
                if waiting:
                    self._compute(network, torch.cat(waiting), done, limit, all_of_it=True)
                outputs = [torch.cat(output).float() for output in zip(*done, strict=True)]
            return tuple(output.cpu().numpy() for output in outputs)
        except torch.OutOfMemoryError as error:  # of what goes before the network and behind it
            if len(parts) == 1:
                raise EncoderError(f"the memory of {self.device} does not hold a single video") from error
        del done, waiting
        torch.cuda.empty_cache()
        halves = [self.run(network, some, prepare) for some in (parts[: len(parts) // 2], parts[len(parts) // 2 :])]
        return tuple(np.concatenate(outputs) for outputs in zip(*halves, strict=True))

    def _on_device(self, parts: Sequence[np.ndarray]) -> Iterator[Tensor]:
        """Each part on the device; the next one travels there while the network works on this one."""
        tensors = (torch.from_numpy(np.ascontiguousarray(part)) for part in parts)
        if self._copies is None:
            yield from tensors
            return
        ahead: tuple[Tensor, torch.cuda.Event] | None = None
        for tensor in tensors:
            with torch.cuda.stream(self._copies):
                # Bytes travel to the device, numbers are made there.
                moved = tensor.pin_memory().to(self.device, non_blocking=True)
                arrived = self._copies.record_event()
            if ahead is not None:
                yield self._here(*ahead)
            ahead = moved, arrived
        if ahead is not None:
            yield self._here(*ahead)

    def _here(self, tensor: Tensor, arrived: "torch.cuda.Event") -> Tensor:
        stream = torch.cuda.current_stream(self.device)
        stream.wait_event(arrived)
        tensor.record_stream(stream)  # its memory must not go to the next copy before the network has read it
        return tensor

    def _compute(
        self,
        network: Network,
        rows: Tensor,
        done: list[tuple[Tensor, ...]],
        limit: int,
        all_of_it: bool,
    ) -> list[Tensor]:
        """Appends the outputs of full batches (or of all rows) to `done`; returns the rows that are left."""
        start = 0
        while start < len(rows) and (all_of_it or len(rows) - start >= min(self._batch, limit)):
            batch = rows[start : start + min(self._batch, limit)]
            try:
                done.append(self._measured_run(network, batch))
            except torch.OutOfMemoryError as error:
                if len(batch) == 1:
                    raise EncoderError(f"the memory of {self.device} does not hold a single row") from error
                self._batch = max(1, len(batch) // 2)
            else:
                start += len(batch)
                continue
            if self.is_cuda:  # outside `except`: the error's traceback holds on to the tensors
                torch.cuda.empty_cache()
        return [rows[start:]] if start < len(rows) else []

    def _measured_run(self, network: Network, batch: Tensor) -> tuple[Tensor, ...]:
        if self._measured or len(batch) < FIRST_BATCH:  # few rows: mostly what a library takes once
            return network(batch)
        before = torch.cuda.memory_allocated(self.device)
        torch.cuda.reset_peak_memory_stats(self.device)
        outputs = network(batch)
        per_row = (torch.cuda.max_memory_allocated(self.device) - before) / len(batch)
        free, _ = torch.cuda.mem_get_info(self.device)
        fitting = int(SHARE_OF_MEMORY * free / max(per_row, 1))
        self._batch = min(LARGEST_BATCH, 1 << max(0, fitting.bit_length() - 1))
        self._measured = True
        return outputs
