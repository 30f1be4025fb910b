"""The night against its slowest stage alone, and against other loops.

    LOUPE_PEER=<python with anomalib 2.7> python bench/night.py [--images 20000] [--turns 1]

Images are generated JPEGs of 640 x 480. Every contender runs in a process of its own, in turns, so
that other work on the machine slows all of them; a ratio is the median over the turns of ratios
within a turn. The tables go into RESULTS.md.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from typing import Any

import pyarrow as pa
import torch
from anomaly import PROJECT
from night_line import ROOT, add_images, make_home, make_line, make_networks
from result_tables import put

from ml.ahead import in_batches, run_ahead
from ml.bundle import load_bundle
from ml.data import catalog, predicted
from ml.imaging import decode
from ml.inference.batch import predict_shards
from ml.inference.engine import Inspector, gather, share_threads
from ml.inference.night import plan_night, planned_images
from ml.settings import Home

DAY = "2026-01-05"
THREADS = os.cpu_count() or 1
PEERS = PROJECT / "bench" / "peers" / "night_loops.py"
ALONE = {"decode": "decode only", "infer": "models only", "write": "write only"}
RIVALS = {"usual": (*ALONE, "torch"), "light": tuple(ALONE), "anomaly": ("anomalib",)}
Found = dict[str, Any]


def night(name: str, day: str) -> Found:
    """All shards of a day, from opening the models to the last commit."""
    line = make_line(name)
    home = make_home(line)
    plan = plan_night(home, line, day)
    used = time.process_time()
    done = predict_shards(home, plan, range(len(plan.sizes)), line.night.batch, THREADS)
    return {
        "images_per_s": done.images_per_s,
        "images_per_cpu_s": done.images / (time.process_time() - used),
        "binds": done.binds,
    }


def alone(name: str, day: str, stage: str) -> Found:
    """One stage with nothing beside it."""
    line = make_line(name)
    home = make_home(line)
    plan = plan_night(home, line, day)
    images = planned_images(home, plan).to_pylist()
    inferring, threads_each = share_threads(THREADS)
    inspector = Inspector(load_bundle(home, plan.bundle), threads_each)
    batch = line.night.batch

    def opened(image: dict[str, Any]) -> Any:
        return inspector.models.prepare(decode(home.object(image["sha256"]).read_bytes()))

    first = [opened(image) for image in images[:batch]]
    gathered = gather(first)
    rows = predicted.read(home, name, day=day) if stage == "write" else None
    started, used = time.perf_counter(), time.process_time()
    if stage == "decode":
        for _ in run_ahead(opened, images, threads=THREADS, ahead=3 * batch):
            pass
    elif stage == "infer":
        batches = in_batches(images, batch)
        for _ in run_ahead(
            lambda _: inspector.models.run(gathered), batches, threads=inferring, ahead=3
        ):
            pass
    else:
        _write(name, rows, day, plan.sizes)
    return {
        "images_per_s": len(images) / (time.perf_counter() - started),
        "images_per_cpu_s": len(images) / (time.process_time() - used),
    }


def _write(name: str, rows: Any, day: str, sizes: tuple[int, ...]) -> None:
    """The predictions of the night before, written into another home from Python rows."""
    scratch = Home(ROOT / "write")
    start = 0
    for shard, size in enumerate(sizes):
        part = rows.slice(start, size).to_pylist()
        table = pa.Table.from_pylist(part, schema=predicted.SCHEMA)
        predicted.write_shard(scratch, name, day, shard, table)
        start += size


def peer(kind: str, name: str, day: str) -> Found:
    """Another loop over the same files."""
    line = make_line(name)
    folder = ROOT / "files" / f"{name}-{day}"
    networks = ROOT / f"{name}.pt"
    torch.save(make_networks(line), networks)
    python = sys.executable if kind == "torch" else os.environ["LOUPE_PEER"]
    extra = [str(networks)] if kind == "torch" else []
    command = [python, str(PEERS), kind, str(folder), str(line.night.batch), str(THREADS), *extra]
    return json.loads(_output(command))


def prepare(name: str, day: str, count: int) -> None:
    """The images of a day, in the catalog and as a folder of files; made once."""
    line = make_line(name)
    home = make_home(line)
    if catalog.count_images(home, name)[day] < count:
        add_images(home, line, day, count)
    folder = ROOT / "files" / f"{name}-{day}"
    folder.mkdir(parents=True, exist_ok=True)
    for image in catalog.read_images(home, name, day=day).to_pylist():
        target = folder / f"{image['part']}.jpg"
        if not target.exists():
            target.symlink_to(home.object(image["sha256"]))


def contend(*words: str) -> Found:
    """One contender in a process of its own."""
    return json.loads(_output([sys.executable, __file__, "--one", *words]))


def _output(command: list[str]) -> str:
    done = subprocess.run(
        command,
        cwd=PROJECT,
        env={**os.environ, "LOUPE_PROGRESS": "off"},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return done.stdout.splitlines()[-1]


def one(kind: str, name: str, day: str) -> Found:
    """The figures of one contender."""
    if kind == "night":
        return night(name, day)
    return alone(name, day, kind) if kind in ALONE else peer(kind, name, day)


def speeds(name: str, images: int, turns: int) -> str:
    """The row of a line in the table of speeds."""
    day = f"{DAY[:-2]}{images % 28 + 1:02d}"
    prepare(name, day, images)
    found: dict[str, list[Found]] = {}
    for _ in range(turns):
        for kind in ("night", *RIVALS[name]):
            found.setdefault(kind, []).append(contend(kind, name, day))
            print(name, kind, found[kind][-1], file=sys.stderr, flush=True)
    if set(ALONE) <= set(found):
        turns_alone = zip(*(found[kind] for kind in ALONE), strict=True)
        found["slowest"] = [min(t, key=lambda one: one["images_per_s"]) for t in turns_alone]

    def ratio(rival: str, key: str) -> str:
        pairs = zip(found["night"], found.get(rival, ()), strict=False)
        each = [ours[key] / theirs[key] for ours, theirs in pairs]
        return f"{statistics.median(each):.2f}" if each else ""

    cells = [
        f"{statistics.median(one['images_per_s'] for one in found[kind]):.1f}"
        if kind in found
        else ""
        for kind in ("night", *ALONE, "torch", "anomalib")
    ]
    ratios = [
        f"{ratio(rival, 'images_per_s')} / {ratio(rival, 'images_per_cpu_s')}"
        if rival in found
        else ""
        for rival in ("slowest", "torch", "anomalib")
    ]
    return "| " + " | ".join([name, f"{images} x {turns}", *cells, *ratios]) + " |"


def main() -> None:
    """Measure and write the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument("--lines", nargs="+", default=list(RIVALS), choices=RIVALS)
    parser.add_argument("--one", nargs=3)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(*options.one)))
    elif "anomaly" in options.lines and not os.environ.get("LOUPE_PEER"):
        sys.exit("LOUPE_PEER must name a Python with anomalib 2.7")
    else:
        for name in options.lines:
            put("night speed", speeds(name, options.images, options.turns), key=2)


if __name__ == "__main__":
    main()
