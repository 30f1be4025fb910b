"""The `gate` and `promote` steps: decide, record, and switch the live bundle."""

from dataclasses import dataclass, replace

from ml import files
from ml.audit import ledger
from ml.audit.promotions import Switch, rejected, rolled_back, standing
from ml.bundle.history import read_history, unrecorded
from ml.bundle.live import live_name, stop_waiting, wait
from ml.evaluation.documents import Decision, put_decision
from ml.evaluation.gate import Judgement, judge
from ml.evaluation.registry import register
from ml.evaluation.switch import finish, load_of_line, next_switch
from ml.results import open_results
from ml.settings import Env, Home, LineConfig


@dataclass(frozen=True)
class Promotion:
    """The live bundle, the one before it, and its version in the registry."""

    bundle: str
    previous: str | None
    version: str


def gate(env: Env, home: Home, line: LineConfig, name: str) -> Judgement:
    """Judge a bundle and record the decision; raises BundleError when it is altered."""
    bundle = load_of_line(home, line, name)
    judgement = judge(env, home, line, bundle)
    if live_name(home, line.name) == name:
        return judgement
    register(env, bundle, "challenger")
    decision = "waiting" if judgement.promote else _refused(home, line, name)
    with files.locked(home.promotions(line.name).parent):
        if judgement.promote:
            wait(home, line.name, name)
        else:
            stop_waiting(home, line.name, name)
    put_decision(open_results(env, home), home, bundle, decision, judgement.reasons)
    return judgement


def promote(env: Env, home: Home, line: LineConfig, name: str, by: str) -> Promotion:
    """Make a verified bundle the champion. Promoting the champion again changes nothing.

    A killed promotion is finished by repeating it, and keeps its first time. Raises BundleError
    when the bundle is altered, LedgerError when the history of promotions is.
    """
    with files.locked(home.promotions(line.name).parent):
        bundle = load_of_line(home, line, name)
        now = _last_switch(home, line)
        switch = next_switch(line, now, name, "promote", by)
        if now is not None and now.bundle == name:
            # Whose live file was put aside, and who was rejected then, is promoted anew.
            again = rejected(home.promotions(line.name), name) is not None
            before = standing(read_history(home, line.name))[:-1]
            previous = before[-1].bundle if before else None
            switch = replace(switch, previous=previous) if again else now
        version = finish(env, home, line, bundle, switch)
    return Promotion(name, switch.previous, version)


def _refused(home: Home, line: LineConfig, name: str) -> Decision:
    """What to call a bundle that the gate refuses: what a person said of it stands."""
    if rejected(home.promotions(line.name), name):
        return "rejected"
    return "rolled_back" if rolled_back(read_history(home, line.name), name) else "kept"


def _last_switch(home: Home, line: LineConfig) -> Switch | None:
    """The last one recorded, finished or not; a live file without a ledger is recorded now."""
    if history := read_history(home, line.name):
        return history[-1]
    switch = unrecorded(home, line.name)
    if switch is not None:
        ledger.append(home.promotions(line.name), switch.as_entry())
    return switch
