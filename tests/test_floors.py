"""The rooms keep their floors, and importing stays cheap where it must."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = ("torch", "torchvision", "pandas", "mlflow", "airflow", "evidently", "great_expectations")


def _modules_after(statement: str) -> set[str]:
    code = f"{statement}; import json, sys; print(json.dumps(sorted(sys.modules)))"
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    return set(json.loads(process.stdout.splitlines()[-1]))


def test_every_room_imports_only_from_floors_below():
    linter = Path(sys.executable).parent / "lint-imports"
    process = subprocess.run([linter], capture_output=True, text=True, cwd=ROOT, check=False)
    assert process.returncode == 0, process.stdout


@pytest.mark.parametrize("package", ["serving", "serving.wsgi", "ml.inference.engine"])
def test_what_the_api_imports_loads_no_heavy_library(package):
    assert _modules_after(f"import {package}").isdisjoint(HEAVY)


def test_importing_ml_costs_nothing():
    loaded = {name for name in _modules_after("import ml") if name.startswith("ml.")}
    assert loaded == set()


def test_help_of_the_command_line_loads_no_heavy_library():
    statement = (
        "import click.testing, ml.cli;"
        "assert click.testing.CliRunner().invoke(ml.cli.main, ['--help']).exit_code == 0"
    )
    assert _modules_after(statement).isdisjoint({*HEAVY, "numpy", "onnxruntime"})
