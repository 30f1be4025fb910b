"""The `rollback` step: the champion before this one is live again."""

from dataclasses import dataclass

from ml import files
from ml.audit.promotions import Switch, standing
from ml.bundle import Bundle
from ml.bundle.history import is_live, read_history
from ml.bundle.live import live_name
from ml.errors import BundleError
from ml.evaluation.documents import live_in_documents
from ml.evaluation.switch import finish, load_of_line, next_switch
from ml.results import open_results
from ml.settings import Env, Home, LineConfig


@dataclass(frozen=True)
class Rollback:
    """The bundle that is live again, the one that it replaces, and its version in the registry."""

    bundle: str
    withdrawn: str
    version: str


def rollback(
    env: Env, home: Home, line: LineConfig, by: str, reason: str = "", bundle: str | None = None
) -> Rollback:
    """Take the champion out of service and make the one before it live again, verified first.

    Rolled back once more, the champion before that one is live, and so on to the first promotion.
    A killed rollback is finished by repeating it. With `bundle`, only that one is taken out: when
    it was rolled back already, nothing changes.

    Raises BundleError when there is no earlier champion, when it is altered, or when `bundle` is
    not live; LedgerError when the history of promotions is altered.
    """
    with files.locked(home.promotions(line.name).parent):
        history = read_history(home, line.name)
        switch = _repeated(env, home, line, history, bundle)
        if switch is None:
            target = _earlier(home, line, history, bundle)
            switch = next_switch(line, history[-1], target, "rollback", by, reason)
        earlier = _usable(home, line, switch.bundle)
        version = finish(env, home, line, earlier, switch)
    return Rollback(switch.bundle, str(switch.previous), version)


def _usable(home: Home, line: LineConfig, name: str) -> Bundle:
    try:
        return load_of_line(home, line, name)
    except BundleError as error:
        msg = (
            f"line {line.name}: the champion to go back to cannot be used: {error}; bundle "
            f"{live_name(home, line.name)} stays live until that one is restored, or another "
            "promoted (`loupe promote`)"
        )
        raise BundleError(msg) from error


def _repeated(
    env: Env, home: Home, line: LineConfig, history: list[Switch], bundle: str | None
) -> Switch | None:
    """The last rollback, when it was killed on the way or is just what is asked for."""
    if not history or history[-1].step != "rollback":
        return None
    last = history[-1]
    shown = live_in_documents(open_results(env, home), line.name)
    finished = is_live(home, last) and shown == last.bundle
    if bundle is None:
        return None if finished else last
    return last if last.previous == bundle else None


def _earlier(home: Home, line: LineConfig, history: list[Switch], bundle: str | None) -> str:
    stack = standing(history)
    if not stack:
        msg = f"line {line.name}: nothing was promoted yet; there is nothing to roll back"
        raise BundleError(msg)
    if bundle not in (None, stack[-1].bundle):
        msg = f"line {line.name}: bundle {bundle} is not live; {stack[-1].bundle} is"
        raise BundleError(msg)
    if len(stack) == 1:
        msg = (
            f"line {line.name}: bundle {stack[-1].bundle} is the first champion, there is none "
            "before it; promote another bundle (`loupe promote`), or move "
            f"{home.live(line.name)} aside and refuse it (`loupe reject`), lest the next training "
            "bring it back: every part is then held for review"
        )
        raise BundleError(msg)
    return stack[-2].bundle
