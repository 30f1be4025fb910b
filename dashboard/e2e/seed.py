"""Documents and images for the browser checks.

`seed.py write` fills LOUPE_HOME and `seed.py reviews` prints the stored reviews; both print JSON.
"""

import hashlib
import json
import sys
from typing import Any

import cv2
import numpy as np

from ml.results import Document, ResultStore, open_results
from ml.settings import Env, Home

_BUNDLE = "0123456789abcdef"
_DAYS = ("2026-03-02", "2026-03-03", "2026-03-04")
_NAMES = ("brightness", "contrast", "sharpness", "colourfulness")


def _line(name: str, title: str, **changes: Any) -> Document:
    known = {"line": name, "title": title, "description": "A textured plate under a ring light"}
    return (
        known | {"models": ["classifier", "anomaly"], "bundle": _BUNDLE, "spread": None} | changes
    )


def _night(day: str, passed: int, fail: int, review: int, *, reconciled: bool) -> Document:
    images = passed + fail + review
    counts = {"images": images, "pass": passed, "fail": fail, "review": review, "shards": 2}
    return {"line": "demo", "day": day, "bundle": _BUNDLE, "reconciled": reconciled} | counts


def _run(bundle: str, decision: str, reasons: list[str]) -> Document:
    def metric(value: float, low: float | None, high: float | None, n: int = 42) -> Document:
        return {"value": value, "low": low, "high": high, "n": n}

    metrics = {
        "fused.auroc": metric(0.982, 0.951, 0.996),
        "fused.ap": metric(0.961, 0.902, 0.991),
        "fused.escape": metric(0.021, None, None, 9),
        "fused.overkill": metric(0.034, 0.0, 0.081),
        "fused.review_rate": metric(0.15, 0.09, 0.22),
        "fused.ece": metric(0.031, 0.0, 0.052),
        "classifier.auroc": metric(0.94, 0.88, 0.98),
        "anomaly.auroc": metric(0.91, 0.83, 0.96),
        "anomaly.pixel_auroc": metric(0.95, 0.92, 0.97),
    }
    names = {"line": "demo", "bundle": bundle, "dataset": "5f1e0c2a", "decision": decision}
    warnings = ["The classifier started from random weights: no pretrained weights were found"]
    report = f"demo/evaluate/{bundle}.html"
    found = {"metrics": metrics, "warnings": warnings, "report": report, "dataset_counts": {}}
    return names | {"reasons": reasons} | found


def _window(day: str, kind: str, severity: str) -> Document:
    drifted = severity != "none"
    tests = [
        {
            "name": name,
            "statistic": 0.81 if drifted and place == 0 else 0.07,
            "p_value": 2.1e-9 if drifted and place == 0 else 0.41,
            "threshold": 0.00125 if drifted and place == 0 else 0.0,
            "effect": 2.4 if drifted and place == 0 else 0.1,
            "drifted": drifted and place == 0,
        }
        for place, name in enumerate(_NAMES)
    ]
    names = {"line": "demo", "day": day, "kind": kind, "severity": severity}
    report = f"reports/demo/drift/{day}-{kind}.html"
    return names | {"images": 100, "note": "", "tests": tests, "report": report}


def _untested(day: str, kind: str) -> Document:
    found = {"severity": "none", "images": 12, "note": "too few images: 12 of 30", "tests": []}
    return {"line": "demo", "day": day, "kind": kind, "report": ""} | found


def _store_image(home: Home, seed: int) -> str:
    pixels = (
        np.random.default_rng(seed).normal(150, 12, (160, 200, 3)).clip(0, 255).astype(np.uint8)
    )
    cv2.line(pixels, (20 + 12 * seed, 30), (150, 40 + 14 * seed), (60, 60, 70), 3)
    content = cv2.imencode(".png", pixels)[1].tobytes()
    sha256 = hashlib.sha256(content).hexdigest()
    path = home.object(sha256)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return sha256


def _part(home: Home, number: int) -> Document:
    failed = number > 4
    return {
        "line": "demo",
        "day": _DAYS[-1],
        "part": f"P-{number:02}",
        "lot": "L-3",
        "camera": "top",
        "object": f"{_DAYS[-1]}/p{number:02}.png",
        "sha256": _store_image(home, number),
        "verdict": "fail" if failed else "review",
        "reason": "beyond the fail threshold" if failed else "between the thresholds",
        "p_defect": 0.97 if failed else 0.31 + number / 20,
        "defect_type": "scratch",
        "scores": {"classifier": 1.2, "anomaly": 3.4},
        "calibrated": {"classifier": 0.77, "anomaly": 0.61},
        "area": 0.021,
        "bundle": _BUNDLE,
    }


def _write(store: ResultStore, home: Home) -> int:
    dealt = {"days": 3, "start": _DAYS[0]}
    lines = [
        _line("demo", "Demo line"),
        _line("bare", "Bare line", bundle=None),
        _line("dealt", "Dealt line", spread=dealt),
    ]
    nights = [
        _night(_DAYS[0], 9, 1, 2, reconciled=True),
        _night(_DAYS[1], 88, 3, 9, reconciled=False),
        _night(_DAYS[2], 80, 5, 15, reconciled=True),
    ]
    runs = [
        _run(_BUNDLE, "promoted", []),
        _run("fedcba9876543210", "kept", ["more escapes than the champion: 0.050 against 0.021"]),
    ]
    kinds = ("embedding", "image", "model")
    windows = [_untested(_DAYS[0], kind) for kind in kinds]
    windows += [_window(_DAYS[1], kind, "none") for kind in kinds]
    windows += [
        _window(_DAYS[2], kind, severity)
        for kind, severity in zip(kinds, ("warning", "alarm", "none"), strict=True)
    ]
    alert = {
        "line": "demo",
        "day": _DAYS[2],
        "kind": "image",
        "severity": "alarm",
        "title": "The images of the night differ from the reference",
        "detail": "brightness: p = 2.1e-9, threshold 0.00125",
        "action": "retrain",
    }
    parts = [_part(home, number) for number in range(1, 7)]
    store.put("lines", {line["line"]: line for line in lines})
    store.put("nights", {f"demo__{night['day']}": night for night in nights})
    store.put("runs", {f"demo__{run['bundle']}": run for run in runs})
    store.put("windows", {f"demo__{w['day']}__{w['kind']}": w for w in windows})
    store.put("alerts", {f"demo__{_DAYS[2]}__image": alert})
    store.put("parts", {f"demo__{_DAYS[2]}__{p['sha256'][:16]}": p for p in parts})
    _write_reports(home, [run["report"] for run in runs] + [w["report"] for w in windows])
    return len(lines) + len(nights) + len(runs) + len(windows) + 1 + len(parts)


def _write_reports(home: Home, names: list[str]) -> None:
    for name in filter(None, names):
        page = home.root / "reports" / name.removeprefix("reports/")
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(f"<!doctype html><title>{name}</title><h1>{name}</h1>", encoding="utf-8")


def main() -> None:
    """Do what the first argument says and print the result as JSON."""
    env = Env.read()
    home = Home(env.home)
    home.root.mkdir(parents=True, exist_ok=True)
    env.lines.mkdir(parents=True, exist_ok=True)
    store = open_results(env, home)
    if sys.argv[1:] == ["reviews"]:
        print(json.dumps(store.find("reviews")))
    elif sys.argv[1:] == ["write"]:
        print(json.dumps({"documents": _write(store, home)}))
    else:
        sys.exit("usage: seed.py write|reviews")


if __name__ == "__main__":
    main()
