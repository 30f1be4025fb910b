"""The `drift` step: one day against the champion's reference; severity, alerts, retrain request."""

from dataclasses import dataclass

from ml.monitoring.compare import KINDS, compare
from ml.monitoring.night import Night, read_night
from ml.monitoring.report import write_reports
from ml.monitoring.statistics import MAX_EFFECT, Test, holm
from ml.results import Document, ResultStore
from ml.settings import Home, LineConfig

_NO_EMBEDDING = "the line's models give no embedding"
# A rejected test with a shift of this many standard deviations is an alarm, below it a warning.
_ALARM_EFFECT = 1.0


@dataclass(frozen=True)
class Drift:
    """What a day's checks found; `note` says why nothing was tested."""

    severity: str
    kinds: dict[str, str]
    retrain: bool
    reports: list[str]
    note: str


def drift(home: Home, line: LineConfig, store: ResultStore, day: str) -> Drift:
    """Compare a day with the reference of the bundle that inspected it; write windows and alerts.

    Raises DataError when the day was not inspected, BundleError when its bundle was altered.
    """
    night = read_night(home, line, day)
    tests: dict[str, list[Test]] = {kind: [] for kind in KINDS}
    if night.sides is not None:
        tests = compare(*night.sides, line.monitor.alpha)
    windows = _windows(line, day, night, tests)
    kinds = {kind: windows[kind]["severity"] for kind in KINDS}
    reports = {}
    if night.sides is not None:
        reports = write_reports(home, line, day, *night.sides, kinds)
    for kind, path in reports.items():
        windows[kind]["report"] = path
    severity = _worst(list(kinds.values()))
    retrain = severity == "alarm" and line.monitor.retrain
    _store(store, line, day, windows, retrain)
    return Drift(severity, kinds, retrain, sorted(reports.values()), night.note)


def _windows(
    line: LineConfig, day: str, night: Night, tests: dict[str, list[Test]]
) -> dict[str, Document]:
    flat = [test for kind in KINDS for test in tests[kind]]
    levels = dict(
        zip(
            [test.name for test in flat],
            holm([t.p_value for t in flat], line.monitor.alpha),
            strict=True,
        )
    )
    return {
        kind: {
            "line": line.name,
            "day": day,
            "kind": kind,
            "severity": _severity(tests[kind], levels),
            "bundle": night.bundle,
            "images": night.images,
            "groups": night.groups,
            "note": night.note or ("" if tests[kind] else _NO_EMBEDDING),
            "tests": [_as_document(test, levels[test.name]) for test in tests[kind]],
            "report": "",
        }
        for kind in KINDS
    }


def _severity(tests: list[Test], levels: dict[str, float]) -> str:
    drifted = [test for test in tests if levels[test.name]]
    if any(test.effect >= _ALARM_EFFECT for test in drifted):
        return "alarm"
    return "warning" if drifted else "none"


def _as_document(test: Test, level: float) -> Document:
    return {
        "name": test.name,
        "statistic": round(test.statistic, 6),
        "p_value": float(f"{test.p_value:.4g}"),
        "threshold": float(f"{level:.4g}"),
        "effect": round(test.effect, 4),
        "drifted": level > 0,
    }


def _store(
    store: ResultStore,
    line: LineConfig,
    day: str,
    windows: dict[str, Document],
    retrain: bool,
) -> None:
    names = {kind: f"{line.name}__{day}__{kind}" for kind in KINDS}
    store.put("windows", {names[kind]: windows[kind] for kind in KINDS})
    alerts = {
        names[kind]: _alert(windows[kind], retrain)
        for kind in KINDS
        if windows[kind]["severity"] != "none"
    }
    store.put("alerts", alerts)
    store.delete("alerts", [name for name in names.values() if name not in alerts])


def _alert(window: Document, retrain: bool) -> Document:
    drifted = [test for test in window["tests"] if test["drifted"]]
    detail = "; ".join(
        f"{test['name']}: shifted by {_size(test['effect'])} deviations (p {test['p_value']:.2g})"
        for test in drifted
    )
    alarm = window["severity"] == "alarm"
    return {
        "line": window["line"],
        "day": window["day"],
        "kind": window["kind"],
        "severity": window["severity"],
        "title": f"{window['kind'].capitalize()} drift on {window['day']}",
        "detail": detail,
        "action": "retrain" if alarm and retrain else "flag",
    }


def _size(effect: float) -> str:
    return f"{effect:.1f}" if effect < MAX_EFFECT else f"{MAX_EFFECT:g} or more"


def _worst(severities: list[str]) -> str:
    order = ("none", "warning", "alarm")
    return max(severities, key=order.index)
