"""The one screen that a demo ends with."""

from collections import Counter

from ml.data import catalog
from ml.results import Document, ResultStore
from ml.services.environment import Addresses
from ml.settings import Home, LineConfig

_FIGURES = ("auroc", "escape", "overkill", "review_rate", "dice")


def summary(home: Home, line: LineConfig, store: ResultStore, addresses: Addresses) -> str:
    """Images, figures with intervals, verdicts, drift, and where everything is."""
    images = Counter(catalog.read_images(home, line.name, status=None)["status"].to_pylist())
    where = {"line": line.name}
    live = (store.get("lines", line.name) or {}).get("bundle", "")
    run = store.get("runs", f"{line.name}__{live}") or {}
    spread = ["  days      dealt over groups: this line has no capture times"]
    rows = [
        "",
        line.title,
        f"  images    {images['accepted']} accepted, {images['quarantined']} quarantined, "
        f"{images['duplicate']} duplicate",
        *_metrics(run),
        *(_night(night) for night in store.find("nights", where)),
        *(_window(window) for window in store.find("windows", where)),
        *(f"  WARNING   {text}" for text in run.get("warnings", [])),
        *(spread if line.source.spread is not None else []),
        f"  bundle    {home.bundle(live) if live else 'none: every part is held for review'}",
        f"  reports   {home.reports(line.name)}",
        "",
        f"  Airflow   {addresses.airflow}",
        f"  dashboard {addresses.dashboard}",
        f"  MLflow    {addresses.mlflow}",
    ]
    return "\n".join(rows)


def _metrics(run: Document) -> list[str]:
    rows = []
    for name, metric in run.get("metrics", {}).items():
        if name.rsplit(".", 1)[-1] not in _FIGURES or metric["value"] is None:
            continue
        interval = "too few samples for an interval"
        if metric["low"] is not None:
            interval = f"{metric['low']:.3f} to {metric['high']:.3f}"
        rows.append(f"  {name:<22}{metric['value']:.3f}  ({interval}; {metric['n']} test groups)")
    return rows


def _night(night: Document) -> str:
    state = "reconciled" if night["reconciled"] else "NOT RECONCILED"
    return (
        f"  night     {night['day']}: {night['pass']} pass, {night['fail']} fail, "
        f"{night['review']} review of {night['images']} ({state})"
    )


def _window(window: Document) -> str:
    found = f"not tested: {window['note']}" if window.get("note") else window["severity"]
    return f"  drift     {window['day']} {window['kind']}: {found}"
