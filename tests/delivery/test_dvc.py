"""dvc.yaml calls commands that exist, with options that they take, on files that a stage makes."""

import re
import shlex
from pathlib import Path

import click
import pytest
import yaml

from ml.cli import main

ROOT = Path(__file__).parents[2]


def _stages():
    document = yaml.safe_load((ROOT / "dvc.yaml").read_text())
    for name, stage in document["stages"].items():
        for item in stage.get("foreach", [None]):
            body = stage["do"] if item else stage
            text = yaml.dump(body, width=10_000).replace("${item}", item or "")
            yield f"{name}@{item}" if item else name, yaml.safe_load(text)


STAGES = dict(_stages())


def _outs(stage):
    return [name for out in stage["outs"] for name in out]


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_is_a_command_that_the_command_line_takes(name):
    text = STAGES[name]["cmd"].replace("${line}", "demo").partition(" > ")[0]
    words = shlex.split(re.sub(r'"\$\(.*?\)"', "x", text.removeprefix("mkdir -p build && ")))
    assert words[0] == "loupe"
    command = main.get_command(click.Context(main), words[1])
    assert command is not None
    command.make_context(words[1], words[2:])


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_reads_only_what_it_depends_on_and_writes_its_out(name):
    stage = STAGES[name]
    files = set(re.findall(r"build/[\w-]+\.json", stage["cmd"]))
    assert files <= {*stage["deps"], *_outs(stage)}
    made = {out for other in STAGES.values() for out in _outs(other)} | {"lines/${line}.toml"}
    assert set(stage["deps"]) <= made
