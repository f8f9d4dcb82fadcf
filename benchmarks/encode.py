"""Is encoding as fast as the machine? `watchnext bench encode [--data FOLDER]`.

Measured in one run, of the same videos: `watchnext embed` end to end, catalogue, checksums and thumbnails included;
decoding alone, with the pipeline's own worker processes (and with PyAV, where the encoder asks for another decoder);
encoding alone, of clips that are in memory. The floor is the
slower of the latter two. On a CPU both live off the same cores, so each alone gets the cores that it has beside the
other: decoding one for each worker, encoding the rest. Encoding with all cores is told too, and how much the pipeline
reaches of what the cores could do in both, were they never idle.

On CUDA (or with `--tower`) a vision tower of SigLIP 2 base's shape, its weights random, runs through the runner that
hub models use, beside the best matrix product of the same device in the same numbers.
"""

import resource
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import orjson
import psutil
import typer
from pydantic import ValidationError

from benchmarks import main
from data.demo.clips import make_clips, plan_clips
from data.files import sha256_of
from data.home import Home
from data.schema import Video
from data.store import Store
from embedder.batch import EmbedSettings, embed
from embedder.encoders import Encoder, EncoderSettings, load_encoder
from embedder.isolation import DecodePool
from embedder.machine import has_cuda, usable_cores
from embedder.media import PYAV, Clip, MediaError, MediaSample, Wanted

app = typer.Typer()
#: Clips kept in memory for encoding alone, at some 6 MB each.
KEPT = 96
BATCHES = {"cuda": (1, 4, 16, 64, 256), "cpu": (1, 4)}
#: Side of the matrices whose product is the ceiling, on CUDA and on a CPU.
CEILING_SIDE = {"cuda": 8192, "cpu": 2048}


@app.command()
def encode(
    data: Annotated[Path | None, typer.Option(help="folder with video files; none: clips drawn for this run")] = None,
    clips: Annotated[int, typer.Option(min=8, help="videos at most")] = 120,
    encoder: Annotated[str, typer.Option(help="which encoder")] = "efficientnet-lite0",
    decoder: Annotated[str, typer.Option(help="auto, pyav or torchcodec")] = "auto",
    tower: Annotated[bool, typer.Option(help="the tower also where there is no CUDA")] = False,
    json: Annotated[bool, typer.Option("--json", help="one JSON object on standard output")] = False,
) -> None:
    """Decoding alone, encoding alone, both end to end: videos a second and peak memory; on CUDA a tower's TFLOP/s."""
    try:
        settings = EmbedSettings(encoder=EncoderSettings(name=encoder, decoder=decoder))  # type: ignore[arg-type]
    except ValidationError as error:
        fault = error.errors()[0]
        hint = "--encoder" if fault["loc"][0] == "name" else "--decoder"
        raise typer.BadParameter(fault["msg"], param_hint=hint) from error
    with tempfile.TemporaryDirectory(prefix="watchnext-bench-") as scratch:
        result = measure(Path(scratch), data, clips, settings)
    if tower or has_cuda():
        result["tower"] = measure_tower("cuda" if has_cuda() else "cpu")
    if json:
        typer.echo(orjson.dumps(result, option=orjson.OPT_INDENT_2).decode())
        return
    typer.echo(f"{result['videos']} videos ({result['failed']} failed), {result['encoder']}, {result['cores']} cores")
    for name in ("decode_only", "decode_only_by_pyav", "encode_only", "encode_only_on_all_cores", "end_to_end"):
        if name not in result:
            continue
        each = result[name]
        typer.echo(
            f"{name.replace('_', ' '):<24} {each['videos_per_s']:6.1f} videos/s"
            f"  {each['core_ms_per_video']:5.0f} ms of a core a video  peak memory {each['peak_mb']:,.0f} MB"
        )
    typer.echo(
        f"end to end: {result['of_the_slower']:.2f} of the slower of the two;"
        f" {result['of_the_cores']:.2f} of what the cores could do for both"
    )
    if "cosine_to_pyav" in result:
        near = ", ".join(f"{name} {value:.3g}" for name, value in result["cosine_to_pyav"].items())
        typer.echo(f"cosine to the vectors of what PyAV reads: {near}")
    if "tower" in result:
        _show_tower(result["tower"])


def measure(scratch: Path, data: Path | None, limit: int, settings: EmbedSettings) -> dict[str, Any]:
    """Videos/s, core ms a video and peak memory of each. `of_the_slower`: end to end over the slower of the two alone;
    `of_the_cores`: over the rate at which the cores would do the work of both, were they never idle."""
    if data is None:
        make_clips(plan_clips(limit, seed=1), scratch / "clips")
    paths = sorted(path for path in (data or scratch / "clips").rglob("*") if path.is_file() and path.suffix != ".csv")
    if not paths:
        raise typer.BadParameter(f"there are no files in {data}", param_hint="--data")
    paths = [paths[place] for place in np.linspace(0, len(paths) - 1, min(limit, len(paths))).astype(int)]
    # Of equal files only one is encoded, so only one may be decoded.
    paths = list({sha256_of(path): path for path in paths}.values())
    home = Home.at(scratch / "home")
    store = Store.open(home.database_url)
    store.catalogue.upsert(
        Video(id=f"v{number}", title=path.stem, media_path=str(path.absolute())) for number, path in enumerate(paths)
    )
    encoder = load_encoder(settings.encoder, home, settings.decode)
    if not encoder.wants.media:
        raise typer.BadParameter(f"{settings.encoder.name} opens no file: nothing to decode", param_hint="--encoder")
    cores = usable_cores()
    with _measured() as whole:
        report = embed(store, home, settings, encoder=encoder)
        whole["videos"] = max(report.encoded, 1)
    store.close()
    with _measured() as decoding:
        kept, decoders = _decoded(paths, encoder.wants, settings, settings.decode_workers(encoder))
        decoding["videos"] = max(sum(decoders.values()), 1)
    if not kept:
        raise typer.BadParameter(f"none of the {len(paths)} files can be encoded", param_hint="--data")
    clips = [_clip(sample) for sample in kept]
    by_pyav: dict[str, Any] = {}
    if encoder.wants.decoder != PYAV:
        with _measured() as figures:
            wants = replace(encoder.wants, decoder=PYAV)
            same, _ = _decoded(paths, wants, settings, settings.decode_workers(encoder))
            figures["videos"] = max(sum(decoders.values()), 1)
        by_pyav = {"decode_only_by_pyav": figures, "cosine_to_pyav": _cosine(encoder, kept, same)}
    left = max(1, cores - settings.decode_workers(encoder))
    beside = encoder
    if encoder.device == "cpu":
        beside = load_encoder(settings.encoder.model_copy(update={"threads": left}), home, settings.decode)
    encoding, encoding_on_all = _encoding(beside, clips, settings.batch), _encoding(encoder, clips, settings.batch)
    slower = min(decoding["videos_per_s"], encoding["videos_per_s"])
    busy_ms = decoding["core_ms_per_video"] + encoding["core_ms_per_video"]
    return {
        "videos": len(paths),
        "failed": sum(report.failed.values()),
        "encoder": encoder.id,
        "device": encoder.device,
        "cores": cores,
        "decode_workers": settings.decode_workers(encoder),
        "decoded_by": decoders,
        "decode_only": decoding,
        **by_pyav,
        "encode_only": encoding,
        "encode_only_on_all_cores": encoding_on_all,
        "end_to_end": whole,
        "of_the_slower": whole["videos_per_s"] / slower,
        "of_the_cores": whole["videos_per_s"] * busy_ms / 1000 / cores,
    }


def _encoding(encoder: Encoder, clips: Sequence[Clip], batch: int) -> dict[str, float]:
    encoder.encode(clips[:1])
    with _measured() as figures:
        for start in range(0, len(clips), batch):
            encoder.encode(clips[start : start + batch])
        figures["videos"] = len(clips)
    return figures


def _clip(sample: MediaSample) -> Clip:
    return Clip(sample.frames, sample.following, sample.sound, "a title")


def _cosine(encoder: Encoder, samples: Sequence[MediaSample], by_pyav: Sequence[MediaSample]) -> dict[str, float]:
    """How near the vectors of what another decoder read are to those of the same files read by PyAV."""
    pairs = [pair for pair in zip(samples, by_pyav, strict=True) if pair[0].decoder != PYAV]
    if not pairs:
        return {"clips": 0}
    one, other = (encoder.encode([_clip(sample) for sample in side]) for side in zip(*pairs, strict=True))
    cosines = (one * other).sum(axis=1)
    return {"clips": len(pairs), "mean": float(cosines.mean()), "min": float(cosines.min())}


def _decoded(
    paths: Sequence[Path], wants: Wanted, settings: EmbedSettings, workers: int
) -> tuple[list[MediaSample], dict[str, int]]:
    """(the first samples, files by decoder); all files are decoded, with the workers that `embed` has."""
    kept: list[MediaSample] = []
    decoders: Counter[str] = Counter()

    def read(path: Path) -> MediaSample | None:
        try:
            return pool.read(path, wants)
        except MediaError:  # `embed` has counted it
            return None

    with (
        DecodePool(workers, settings.time_limit_s, settings.memory_limit_mb, settings.decode, wants.decoder) as pool,
        ThreadPoolExecutor(workers) as threads,
    ):
        for sample in threads.map(read, paths):
            if sample is None:
                continue
            decoders[sample.decoder] += 1
            if len(kept) < KEPT:
                kept.append(sample)
    return kept, dict(decoders)


@contextmanager
def _measured() -> Iterator[dict[str, float]]:
    """Of what runs inside, which tells its "videos": videos/s, core milliseconds a video, and the largest sum of the
    resident memory of this process and its children (looked at twenty times a second)."""
    figures: dict[str, float] = {}
    peak, over = 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while True:
            processes = [psutil.Process(), *psutil.Process().children(recursive=True)]
            peak = max(peak, sum(map(_resident, processes)))
            if over.wait(0.05):
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    started, busy = time.perf_counter(), _core_seconds()
    try:
        yield figures
    finally:
        seconds, busy = time.perf_counter() - started, _core_seconds() - busy
        over.set()
        watcher.join()
    videos = figures.pop("videos")
    figures |= {
        "videos_per_s": videos / seconds,
        "core_ms_per_video": busy / videos * 1000,
        "peak_mb": peak / 2**20,
    }


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except psutil.Error:
        return 0


def _core_seconds() -> float:
    """Of this process and of those of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


# ---- A tower ---------------------------------------------------------------------------------------------------


def measure_tower(device: str, layers: int = 12, batches: Sequence[int] | None = None) -> dict[str, Any]:
    """A tower of SigLIP 2 base's shape (224 pixels, patches of 16, width 768) with random weights, `layers` deep.

    By batch: ms and TFLOP/s, plain and compiled as `embed.encoder.compile` has it; through `TorchDevice`, copies from
    the host included, pictures/s and TFLOP/s; the ceiling: TFLOP/s of a square matrix product in the same numbers.
    """
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import SiglipVisionConfig, SiglipVisionModel

    from embedder.encoders.torch_device import TorchDevice

    runtime = TorchDevice(device)
    model = SiglipVisionModel(SiglipVisionConfig(num_hidden_layers=layers)).eval().to(runtime.device, runtime.dtype)

    def network(pictures: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (model(pixel_values=pictures).pooler_output,)

    def picture(count: int) -> torch.Tensor:
        return torch.zeros((count, 3, 224, 224), device=runtime.device, dtype=runtime.dtype)

    side = CEILING_SIDE[runtime.device.type]
    batches = batches or BATCHES[runtime.device.type]
    with torch.inference_mode():
        with FlopCounterMode(display=False) as counter:
            network(picture(1))
        flops = counter.get_total_flops()
        matrix = torch.randn((side, side), device=runtime.device, dtype=runtime.dtype)
        ceiling = 2 * side**3 / _seconds(lambda: matrix @ matrix, runtime.is_cuda) / 1e12
        compiled = TorchDevice(device, compiled=True).prepared(network) if runtime.is_cuda else None
        curve = []
        for batch in batches:
            pictures = picture(batch)
            row: dict[str, float] = {"batch": batch}
            for name, run in (("plain", network), ("compiled", compiled)):
                if run is not None:
                    seconds = _seconds(lambda run=run, pictures=pictures: run(pictures), runtime.is_cuda)
                    row[f"{name}_ms"] = seconds * 1000
                    row[f"{name}_tflops"] = batch * flops / seconds / 1e12
            curve.append(row)
    clips = [np.zeros((16, 256, 256, 3), np.uint8)] * max(1, 4 * max(batches) // 16)

    def prepare(frames: torch.Tensor) -> torch.Tensor:
        return frames[:, 16:240, 16:240].permute(0, 3, 1, 2).to(runtime.dtype) / 127.5 - 1

    runtime.run(network, clips, prepare)  # the first time it learns how large a batch may be
    started = time.perf_counter()
    runtime.run(network, clips, prepare)
    per_picture = (time.perf_counter() - started) / sum(map(len, clips))
    best = max(max(row["plain_tflops"], row.get("compiled_tflops", 0.0)) for row in curve)
    return {
        "device": torch.cuda.get_device_name() if runtime.is_cuda else "cpu",
        "numbers": runtime.name,
        "gflop_per_picture": flops / 1e9,
        "ceiling_tflops": ceiling,
        "curve": curve,
        "through_the_runner": {"pictures_per_s": 1 / per_picture, "tflops": flops / per_picture / 1e12},
        "best_of_the_ceiling": best / ceiling,
        "runner_of_the_ceiling": flops / per_picture / 1e12 / ceiling,
    }


def _seconds(run: Any, on_cuda: bool, turns: int = 10) -> float:
    """The median of `turns` runs, after two that warm up."""
    import torch

    times = []
    for turn in range(turns + 2):
        if on_cuda:
            torch.cuda.synchronize()
        started = time.perf_counter()
        run()
        if on_cuda:
            torch.cuda.synchronize()
        if turn >= 2:
            times.append(time.perf_counter() - started)
    return float(np.median(times))


def _show_tower(tower: dict[str, Any]) -> None:
    typer.echo(
        f"tower on {tower['device']} ({tower['numbers']}), {tower['gflop_per_picture']:.1f} GFLOP a picture;"
        f" ceiling {tower['ceiling_tflops']:.2f} TFLOP/s"
    )
    for row in tower["curve"]:
        compiled = (
            f"  compiled {row['compiled_ms']:8.1f} ms {row['compiled_tflops']:7.2f} TFLOP/s"
            if "compiled_ms" in row
            else ""
        )
        typer.echo(
            f"batch {row['batch']:>4}  plain {row['plain_ms']:8.1f} ms {row['plain_tflops']:7.2f} TFLOP/s{compiled}"
        )
    runner = tower["through_the_runner"]
    typer.echo(
        f"through the runner {runner['pictures_per_s']:,.0f} pictures/s, {runner['tflops']:.2f} TFLOP/s;"
        f" of the ceiling: best {tower['best_of_the_ceiling']:.2f}, runner {tower['runner_of_the_ceiling']:.2f}"
    )


if __name__ == "__main__":
    main(app)
