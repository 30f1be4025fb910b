"""How often a night without drift is called drift: all tests of a night together.

    python bench/drift_false_alarms.py

Generated groups first; where the images of magnetic tiles are, whole tiles dealt at random into a
reference and a night, too. Every night has a reference of its own. Beside the product's rate stands
that of the same tests with every image counted as independent. The table goes into RESULTS.md.
"""

import csv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from result_tables import write
from scipy.stats import binomtest

from ml.data.measure import MEASURES, measure
from ml.imaging import decode_rgb
from ml.monitoring.compare import Rows, both_sides, compare
from ml.monitoring.statistics import holm

PROJECT = Path(__file__).parents[1]
TILES = PROJECT.parent / "shared" / "data" / "magnetic_tiles"
ALPHAS = (0.01, 0.05)
NIGHTS = 600
NIGHTS_BY_IMAGE = 100
REFERENCE_GROUPS = 100
PASS_BELOW = 0.1
SEED = 20261121
HEAD = """| groups | a night | images each | alpha | nights with drift | image by image |
| --- | --- | --- | --- | --- | --- |
"""

# Of each group, or the numbers of which each group has one.
Images = int | Sequence[int]
# From a generator of random numbers: rows of the reference and of a night.
Deal = Callable[[np.random.Generator], tuple[Rows, Rows]]


def generated(
    random: np.random.Generator,
    groups: int,
    images: Images,
    within: float = 0.1,
    apart: float = 0,
) -> Rows:
    """Groups of images that differ by `within` inside and by 1 to others, a fifth bad.

    Values are skewed, tied and related. Two cameras, `apart` in light, take turns.
    """
    sizes = [images] if isinstance(images, int) else images
    rows = []
    for group in range(groups):
        light = random.normal(0, 1)
        own = random.normal(0, 1, len(MEASURES)) + light
        own[MEASURES.index("aspect")] = random.integers(2)
        own[MEASURES.index("bytes")] = np.exp(own[MEASURES.index("bytes")])
        embedding = np.maximum(random.normal(0, 1, 16) + light / 2, 0)
        odds = random.normal(2, 2) if random.random() < 0.2 else random.normal(-6, 2)
        for number in range(random.choice(sizes)):
            camera = number % 2
            noise = random.normal(0, within, len(MEASURES)) + apart * camera
            noise[MEASURES.index("aspect")] = 0
            rows.append(
                {
                    "group": str(group),
                    "camera": str(camera),
                    **dict(zip(MEASURES, own + noise, strict=True)),
                    "embedding": embedding + random.normal(0, within, 16) + apart * camera,
                    "p_defect": 1 / (1 + np.exp(-odds - random.normal(0, 3 * within))),
                }
            )
    return rows


def deal_generated(
    random: np.random.Generator,
    groups: int,
    images: Images,
    reference: int = REFERENCE_GROUPS,
    beside: Images | None = None,
    **alike: float,
) -> tuple[Rows, Rows]:
    """A reference, whose groups have `beside` images (as many), and a night of one process."""
    return (
        generated(random, reference, beside or images, **alike),
        generated(random, groups, images, **alike),
    )


def deal_tiles(random: np.random.Generator, groups: int, tiles: list[Rows]) -> tuple[Rows, Rows]:
    """Whole tiles without replacement: `groups` for the night, all others for the reference."""
    order = random.permutation(len(tiles))
    night, reference = order[:groups], order[groups:]
    return [row for t in reference for row in tiles[t]], [row for t in night for row in tiles[t]]


def read_tiles(folder: Path) -> list[Rows]:
    """Rows of each tile. Measures are the product's; no model is needed for what stands in for its
    outputs: a thumbnail of 6 x 6 grey levels, and how the image ranks by contrast.
    """
    with (folder / "manifest.csv").open() as lines:
        images = [row for row in csv.DictReader(lines) if row["path"].startswith("images/")]
    tiles: dict[str, Rows] = {}
    for image in images:
        content = (folder / image["path"]).read_bytes()
        pixels = decode_rgb(content)
        row = {"group": image["group"], "camera": "", "bytes": len(content), **measure(pixels)}
        thumbnail = cv2.resize(pixels[..., 0], (6, 6), interpolation=cv2.INTER_AREA)
        row["embedding"] = thumbnail.astype(float).ravel()
        tiles.setdefault(image["group"], []).append(row)
    rows = sorted((row for tile in tiles.values() for row in tile), key=lambda row: row["contrast"])
    for rank, row in enumerate(rows):
        row["p_defect"] = (rank + 0.5) / len(rows) * PASS_BELOW / 0.8
    return list(tiles.values())


def night_drifts(rows: tuple[Rows, Rows], alpha: float) -> bool:
    """Whether any test of a night rejects, just as `loupe drift` decides."""
    reference, current = both_sides(*rows, PASS_BELOW)
    tests = [test for kind in compare(reference, current, alpha).values() for test in kind]
    return any(holm([test.p_value for test in tests], alpha))


def image_by_image(deal: Deal) -> Deal:
    """The same images, each a group of its own."""

    def apart(rows: Rows) -> Rows:
        return [row | {"group": str(number)} for number, row in enumerate(rows)]

    def dealt(random: np.random.Generator) -> tuple[Rows, Rows]:
        reference, night = deal(random)
        return apart(reference), apart(night)

    return dealt


@dataclass(frozen=True)
class Rate:
    """How many of the nights had drift."""

    alarms: int
    nights: int

    def __str__(self) -> str:
        found = binomtest(self.alarms, self.nights).proportion_ci()
        share = self.alarms / self.nights
        return f"{share:.1%} ({found.low:.1%}–{found.high:.1%})"


def rate(deal: Deal, alpha: float, nights: int) -> Rate:
    """False alarms over the first nights of a fixed series."""
    series = (deal(np.random.default_rng([SEED, night])) for night in range(nights))
    return Rate(sum(night_drifts(rows, alpha) for rows in series), nights)


def main() -> None:
    """Count false alarms and put the table into RESULTS.md."""
    cases: list[tuple[str, Deal]] = [
        (
            f"generated | {groups} | {images}",
            partial(deal_generated, groups=groups, images=images),
        )
        for groups in (30, 100)
        for images in (1, 3)
    ]
    cases += [
        (
            f"generated, unlike inside | 30 | {named}, reference 5",
            partial(deal_generated, groups=30, images=images, beside=5, within=1.0),
        )
        for named, images in (("1", 1), ("1 to 5", range(1, 6)), ("20", 20))
    ]
    cases += [
        (
            f"generated, two cameras | 30 | {images}, reference {beside}",
            partial(deal_generated, groups=30, images=images, beside=beside, apart=10.0),
        )
        for images, beside in ((20, 6), (6, 20))
    ]
    if TILES.is_dir():
        tiles = read_tiles(TILES)
        images = f"{sum(map(len, tiles)) / len(tiles):.1f} (mean)"
        cases += [
            (
                f"magnetic tiles | {groups} | {images}",
                partial(deal_tiles, groups=groups, tiles=tiles),
            )
            for groups in (30, 60)
        ]
    table = HEAD
    for name, deal in cases:
        for alpha in ALPHAS:
            by_group = rate(deal, alpha, NIGHTS)
            by_image = rate(image_by_image(deal), alpha, NIGHTS_BY_IMAGE)
            row = f"| {name} | {alpha} | {by_group} | {by_image} |"
            print(row, flush=True)
            table += row + "\n"
    write("drift false alarms", table)


if __name__ == "__main__":
    main()
