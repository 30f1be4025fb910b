"""The leak guard on real splits, beside a plain perceptual hash; writes tables into RESULTS.md.

    python bench/leaks.py [casting|magnetic_tiles|kolektor_sdd ...] [--pictures FOLDER]
    python bench/leaks.py growth

Needs the images in ../shared/data. `--pictures` draws one pair for each two groups of a manifest
that the guard joins, laid over each other, for a person to judge.
"""

import csv
import resource
import sys
import time
from collections import Counter, defaultdict
from itertools import combinations
from pathlib import Path

import cv2
import numpy as np
from result_tables import put

from ml.data.appearance import neighbours
from ml.data.copies import Copy, find_copies
from ml.data.keypoints import working_copy
from ml.data.measure import perceptual_hash
from ml.data.split import split_groups
from ml.imaging import Pixels, decode_rgb
from ml.settings.env import cores
from ml.settings.line import SplitConfig

PROJECT = Path(__file__).parents[1]
SETS = PROJECT.parent / "shared" / "data"
NAMES = ("casting", "kolektor_sdd", "magnetic_tiles")
SEEDS = range(10)
THREADS = cores()
HASH_BITS = 10  # the usual threshold of a 64-bit perceptual hash
Rows = list[dict[str, str]]


def read_rows(name: str) -> Rows:
    """The manifest's rows that are images."""
    with (SETS / name / "manifest.csv").open() as file:
        rows = list(csv.DictReader(file))
    return [row for row in rows if not row["path"].startswith(("masks/", "ground_truth/"))]


def read(name: str, row: dict[str, str]) -> Pixels:
    return decode_rgb((SETS / name / row["path"]).read_bytes())


def leaking_split(name: str, rows: Rows) -> tuple[str, list[str]]:
    """A split that leaks, as found in the wild: the publisher's, or by file."""
    if name == "casting":
        return "official", [row["official"].split("/")[0] for row in rows]
    drawn = np.random.default_rng(0).random(len(rows))
    return "by file, a quarter test", ["test" if x < 0.25 else "train" for x in drawn]


def hashed_pairs(name: str, rows: Rows, keys: list[str], turns: int) -> list[tuple[int, int]]:
    """The peer: pairs whose perceptual hashes, of one of the turned versions, are near."""
    plain, turned = [], []
    for row in rows:
        grey = cv2.cvtColor(read(name, row), cv2.COLOR_RGB2GRAY)
        views = [np.rot90(side, k) for side in (grey, grey[:, ::-1]) for k in range(4)][:turns]
        hashes = [int(perceptual_hash(np.ascontiguousarray(view)), 16) for view in views]
        plain.append(hashes[0])
        turned.append(hashes)
    base, views = np.array(plain, np.uint64), np.array(turned, np.uint64)
    pairs = set()
    for a in range(len(rows)):
        bits = np.bitwise_count(views[a][:, None] ^ base[None]).min(axis=0)
        pairs |= {tuple(sorted((a, int(b)))) for b in np.flatnonzero(bits <= HASH_BITS)}
    return [(a, b) for a, b in pairs if keys[a] != keys[b]]


def figures(rows: Rows, keys: list[str], pairs: list[tuple[int, int]]) -> list[str]:
    """Pairs reported, those true by group, all there are, and the share of groups found."""
    groups = [row["group"] for row in rows]
    members = defaultdict(Counter)
    for group, key in zip(groups, keys, strict=True):
        members[group][key] += 1
    there = sum(a * b for c in members.values() for a, b in combinations(c.values(), 2))
    crossing = sum(len(c) > 1 for c in members.values())
    true = [groups[a] for a, b in pairs if groups[a] == groups[b]]
    return [
        f"{len(pairs)}",
        f"{len(true)} of {there}",
        f"{len(set(true))} of {crossing}",
        f"{len(pairs) - len(true)}",
    ]


def linked(rows: Rows, copies: list[Copy]) -> dict[tuple[str, str], Copy]:
    """The best pair for each two groups that the guard joins."""
    best: dict[tuple[str, str], Copy] = {}
    for copy in copies:
        two = tuple(sorted((rows[copy.first]["group"], rows[copy.second]["group"])))
        if two not in best or best[two].score < copy.score:
            best[two] = copy
    return best


def crossing_links(rows: Rows, copies: list[Copy], name: str) -> str:
    """How many of the linked pairs of groups a split by the manifest's group tears apart."""
    kinds = [(row["group"], row.get("cls", "ok")) for row in rows]
    torn = []
    for seed in SEEDS:
        split = split_groups(kinds, SplitConfig(seed=seed))
        torn.append(sum(split[a] != split[b] for a, b in linked(rows, copies)))
    return f"{min(torn)}–{max(torn)}"


def draw(name: str, rows: Rows, copies: list[Copy], folder: Path) -> None:
    """One picture of the pairs that join two groups: first laid over second, and second."""
    tiles = []
    for (a, b), copy in sorted(linked(rows, copies).items(), key=lambda item: item[1].score):
        first, second = (working_copy(read(name, rows[i])) for i in (copy.first, copy.second))
        if copy.alignment.is_mirrored:
            first = np.ascontiguousarray(first[:, ::-1])
        laid = cv2.warpAffine(first, copy.alignment.matrix, second.shape[::-1])
        tile = cv2.resize(np.hstack([laid, second]), (400, 200))
        cv2.putText(tile, f"{a} {b} {copy.score:.2f}", (4, 16), 0, 0.5, 255)
        tiles.append(tile)
    tiles += [np.zeros((200, 400), np.uint8)] * (-len(tiles) % 4)
    folder.mkdir(parents=True, exist_ok=True)
    if tiles:
        lines = [np.hstack(tiles[i : i + 4]) for i in range(0, len(tiles), 4)]
        cv2.imwrite(str(folder / f"{name}.png"), np.vstack(lines))


def run(name: str, pictures: Path | None) -> None:
    """Both tables' rows of one set."""
    rows = read_rows(name)
    what, keys = leaking_split(name, rows)
    for method, turns in (("loupe", 0), ("pHash", 1), ("pHash, 8 turns", 8)):
        started = time.monotonic()
        if turns:
            pairs = hashed_pairs(name, rows, keys, turns)
        else:
            found = find_copies(len(rows), lambda i: read(name, rows[i]), keys, threads=THREADS)
            pairs = [(copy.first, copy.second) for copy in found]
        cells = [name, what, method, *figures(rows, keys, pairs)]
        cells.append(f"{time.monotonic() - started:.0f}")
        put("leaking splits", f"| {' | '.join(cells)} |", key=3)
    groups = [row["group"] for row in rows]
    started = time.monotonic()
    found = find_copies(len(rows), lambda i: read(name, rows[i]), groups, threads=THREADS)
    seconds = f"{time.monotonic() - started:.0f}"
    hashes = hashed_pairs(name, rows, groups, 8)
    peer = len({tuple(sorted((groups[a], groups[b]))) for a, b in hashes})
    joined, torn = f"{len(linked(rows, found))}", crossing_links(rows, found, name)
    put("group splits", f"| {name} | {len(set(groups))} | {joined} | {torn} | {peer} | {seconds} |")
    if pictures:
        draw(name, rows, found, pictures)


def growth() -> None:
    """Time and peak memory of the one quadratic part, on generated vectors."""
    rng = np.random.default_rng(0)
    for count in (1000, 4000, 16000):
        vectors = rng.standard_normal((2, count, 192), np.float32)
        vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
        keys = np.arange(count) % 2
        started = time.monotonic()
        pairs = len(neighbours(vectors[0], vectors[1], keys, 16))
        seconds = time.monotonic() - started
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        put("leak growth", f"| {count} | {pairs} | {seconds:.1f} | {peak:.0f} |")


def main() -> None:
    """Run the sets that were asked for."""
    arguments = sys.argv[1:]
    pictures = None
    if "--pictures" in arguments:
        at = arguments.index("--pictures")
        pictures = Path(arguments[at + 1])
        del arguments[at : at + 2]
    for name in arguments or (*NAMES, "growth"):
        if name == "growth":
            growth()
        else:
            run(name, pictures)


if __name__ == "__main__":
    main()
