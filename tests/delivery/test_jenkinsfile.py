"""The Jenkinsfile as a DSL: a strict harness runs its blocks. This is not a run of Jenkins."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HARNESS = Path(__file__).with_name("jenkinsfile.groovy")


def _environ() -> dict[str, str]:
    # Debian's groovy looks for /usr/lib/jvm/default-java, which need not be the Java there is.
    java = shutil.which("java")
    return os.environ | ({"JAVA_HOME": str(Path(java).resolve().parents[1])} if java else {})


def _has_groovy() -> bool:
    if shutil.which("groovy") is None:
        return False
    version = ["groovy", "--version"]
    return not subprocess.run(version, env=_environ(), capture_output=True, check=False).returncode


pytestmark = pytest.mark.skipif(
    not _has_groovy(), reason="groovy does not run here: the Jenkinsfile's DSL is NOT checked"
)


def run(jenkinsfile: Path) -> subprocess.CompletedProcess[str]:
    command = ["groovy", str(HARNESS), str(jenkinsfile)]
    return subprocess.run(command, env=_environ(), capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def pipeline():
    done = run(ROOT / "Jenkinsfile")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _inside(block, word):
    return next((entry for entry in block if entry["word"] == word), None)


@pytest.fixture(scope="module")
def stages(pipeline):
    found = _inside(pipeline["block"], "stages")["block"]
    return {stage["arguments"][0]: stage["block"] for stage in found}


def _scripts(block):
    for entry in block:
        if entry["word"] == "sh":
            yield entry["arguments"][0]
        yield from _scripts(entry.get("block", []))


def test_the_stages_run_the_scripts_in_order(stages):
    scripts = [script for block in stages.values() for script in _scripts(block)]
    names = ["lint", "test", "build_image", "scan", "publish", "deploy"]
    assert scripts == [f"ci/{name}.sh" for name in names]
    assert all(os.access(ROOT / script, os.X_OK) for script in scripts)


def test_images_are_published_from_main_and_tags_only(stages):
    (either,) = _inside(stages["Publish"], "when")["block"]
    assert either["word"] == "anyOf"
    conditions = {(entry["word"], *entry["arguments"]) for entry in either["block"]}
    assert conditions == {("branch", "main"), ("buildingTag",)}


def test_only_a_tag_is_deployed(stages):
    assert [entry["word"] for entry in _inside(stages["Deploy"], "when")["block"]] == [
        "buildingTag"
    ]


@pytest.mark.parametrize(
    ("stage", "variables"),
    [
        ("Publish", {"DOCKERHUB_USER", "DOCKERHUB_TOKEN"}),
        ("Deploy", {"PYTHONANYWHERE_USER", "PYTHONANYWHERE_TOKEN", "PYTHONANYWHERE_DOMAIN"}),
    ],
)
def test_a_script_gets_every_variable_it_insists_on_from_credentials(stages, stage, variables):
    steps = _inside(stages[stage], "steps")["block"]
    bound = {
        value
        for binding in _inside(steps, "withCredentials")["arguments"][0]
        for key, value in binding["arguments"][0].items()
        if key.lower().endswith("variable")
    }
    assert bound == variables


def test_what_was_built_is_always_archived(pipeline):
    always = _inside(_inside(pipeline["block"], "post")["block"], "always")
    assert _inside(always["block"], "archiveArtifacts")


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("stages {", "stagess {"),
        ("steps { sh 'ci/lint.sh' }", "sh 'ci/lint.sh'"),
        ("agent { label 'docker' }", ""),
        ("buildingTag() }", "buildingTags() }"),
    ],
)
def test_the_harness_refuses_a_wrong_word(tmp_path, right, wrong):
    text = (ROOT / "Jenkinsfile").read_text()
    assert right in text
    broken = tmp_path / "Jenkinsfile"
    broken.write_text(text.replace(right, wrong, 1))
    done = run(broken)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.startswith("refused:")
