"""The command line explains itself, fails clearly, and prints one JSON result."""

import json
import os
import subprocess
import sys

import pytest

from ml.cli import main

COMMANDS = main.list_commands(None)


@pytest.fixture
def loupe(project, tmp_path):
    """Run `loupe` as a person would, with a home of its own."""

    def run(*arguments, **environ):
        return subprocess.run(
            [sys.executable, "-m", "ml.cli", *arguments],
            capture_output=True,
            text=True,
            cwd=project,
            check=False,
            env={**os.environ, "LOUPE_HOME": str(tmp_path / "home"), **environ},
        )

    return run


def test_help_names_every_step(loupe):
    text = loupe("--help").stdout
    missing = [command for command in COMMANDS if f"  {command} " not in text]
    assert not missing


def test_the_readme_names_every_command(project):
    text = (project / "README.md").read_text()
    missing = [command for command in COMMANDS if f"loupe {command}" not in text]
    assert not missing


def test_doctor_finds_this_installation_complete(loupe):
    done = loupe("doctor", "--json")
    checks = json.loads(done.stdout)
    assert done.returncode == 0, [c for c in checks if c["required"] and not c["good"]]
    assert {"torch", "apache-airflow", "mlflow", "flask"} <= {check["name"] for check in checks}


def test_doctor_says_whether_the_processor_computes_int8_well(loupe):
    checks = {check["name"]: check for check in json.loads(loupe("doctor", "--json").stdout)}
    processor = checks["processor"]
    assert not processor["required"]
    assert processor["good"] == ("no VNNI" not in processor["detail"])
    assert "VNNI" in processor["detail"]


def test_doctor_names_a_broken_line_and_fails(loupe, tmp_path):
    (tmp_path / "bad.toml").write_text('name = "bad"\n')
    done = loupe("doctor", LOUPE_LINES=str(tmp_path))
    assert done.returncode == 1
    assert "`title` is missing" in done.stdout


def test_doctor_sees_a_signing_key_that_others_can_read(loupe, tmp_path):
    key = tmp_path / "open.key"
    key.touch(0o644)
    done = loupe("doctor", LOUPE_SIGNING_KEY=str(key))
    assert f"{key} can be read by others" in done.stdout


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("restoring.json", "{}", "is half restored"),
        ("catalog/schema.json", '{"schema": 99}', "a newer Loupe wrote this catalog"),
        ("live/demo.json", '{"bundle": "' + 32 * "0" + '"}', "every part is held"),
    ],
)
def test_doctor_sees_a_home_that_no_night_could_use(loupe, tmp_path, file, content, said):
    path = tmp_path / "home" / file
    path.parent.mkdir(parents=True)
    path.write_text(content)
    done = loupe("doctor")
    assert done.returncode == 1
    assert said in done.stdout


def test_doctor_goes_on_after_a_file_that_cannot_be_read(loupe, tmp_path):
    (tmp_path / "home" / "live" / "demo.json").mkdir(parents=True)
    done = loupe("doctor")
    assert done.returncode == 1
    assert "live bundle demo" in done.stdout
    assert "firestore emulator" in done.stdout


def test_doctor_sees_a_home_that_is_a_file_and_a_key_that_is_none(loupe, tmp_path):
    path = tmp_path / "home"
    path.write_text("no key")
    path.chmod(0o600)
    done = loupe("doctor", LOUPE_SIGNING_KEY=str(path))
    assert done.returncode == 1
    assert f"{path} is no folder" in done.stdout
    assert f"{path}: the signing key cannot be read" in done.stdout


def test_doctor_answers_a_terminal_of_another_character_set(loupe):
    done = loupe("doctor", PYTHONIOENCODING="latin-1")
    assert (done.returncode, done.stderr) == (0, "")


def test_doctor_names_a_wrong_variable(loupe):
    done = loupe("doctor", LOUPE_THREADS="x")
    assert done.returncode == 2
    assert done.stderr == "loupe: LOUPE_THREADS is 'x'; expected a whole number, 0 for all cores\n"


def test_a_demo_of_a_line_that_airflow_does_not_see_is_refused_at_once(loupe, project, tmp_path):
    path = tmp_path / "demo.toml"
    path.write_bytes((project / "lines" / "demo.toml").read_bytes())
    done = loupe("demo", "--once", "--line", str(path))
    assert done.returncode == 2
    assert f"set LOUPE_LINES={tmp_path}" in done.stderr
    assert done.stdout == ""
    assert not (tmp_path / "home").exists()


def test_a_demo_on_a_folder_that_is_not_there_is_refused_at_once(loupe, tmp_path):
    done = loupe("demo", "--once", "--line", "demo", "--data", str(tmp_path / "nowhere"))
    assert done.returncode == 2
    assert "nowhere: no such folder" in done.stderr
    assert done.stdout == ""


def test_an_unknown_line_is_one_clear_message(loupe):
    done = loupe("ingest", "--line", "nobody")
    assert done.returncode == 2
    assert "no line 'nobody'" in done.stderr
    assert "demo" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_missing_source_is_one_clear_message(loupe):
    done = loupe("ingest", "--line", "demo", "--source", "/nowhere")
    assert (done.returncode, done.stdout) == (2, "")
    assert "source folder /nowhere does not exist" in done.stderr


def test_the_first_steps_give_one_json_result_each(loupe, tmp_path):
    source = str(tmp_path / "images")
    made = json.loads(loupe("demo-images", "--line", "demo", "--into", source).stdout)
    assert made["written"] > 300
    listed = loupe("ingest", "--line", "demo", "--source", source, "--until", "2026-01-05")
    batch = json.loads(listed.stdout)
    done = json.loads(loupe("validate", "--line", "demo", "--batch", batch["batch"]).stdout)
    assert done["listed"] == done["accepted"] + done["quarantined"] + done["duplicate"]
    assert done["days"] == ["2026-01-05"]
    dataset = loupe("snapshot", "--line", "demo")
    assert json.loads(dataset.stdout)["leaks"] == 0


def test_an_untouched_ledger_is_reported_intact_and_an_altered_one_is_named(loupe, tmp_path):
    from ml.audit.ledger import append
    from ml.settings import Home

    path = Home(tmp_path / "home").ledger("demo", "quarantine")
    append(path, {"key": "a", "images": []})
    done = loupe("audit", "verify", "--line", "demo")
    assert json.loads(done.stdout) == {"days": 0, "entries": 1, "found_reviews": 0, "intact": True}
    path.write_text(path.read_text().replace('"a"', '"b"'))
    done = loupe("audit", "verify", "--line", "demo")
    assert done.returncode == 2
    assert "line 1: altered" in done.stderr
