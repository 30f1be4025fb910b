"""A planted secret is in no output and in no file, whatever fails."""

import os
import shutil
import subprocess
import sys

import pytest
from tiny_line import write_squares, write_training_line

from ml.masking import MASK, masked, secrets_of

CANARY = "canary-7f3a9c51d2"
LINE = """
name = "plant"
title = "Plant"
[source]
uri = "{}"
layout.kind = "class_folders"
[backbone]
weights = "none"
"""


@pytest.fixture
def run(project, tmp_path):
    """Run a script in a process whose environment holds the canary in every place it can."""
    (tmp_path / "lines").mkdir()
    (tmp_path / "lines" / "plant.toml").write_text(LINE.format(tmp_path / "source"))

    def run(script, **environ):
        done = subprocess.run(
            [sys.executable, "-c", script],
            capture_output=True,
            text=True,
            check=False,
            env={
                **os.environ,
                "PYTHONPATH": str(project),
                "LOUPE_HOME": str(tmp_path / "home"),
                "LOUPE_LINES": str(tmp_path / "lines"),
                "LOUPE_THREADS": "1",
                "LOUPE_TOKEN": CANARY,
                "AWS_ACCESS_KEY_ID": f"id-{CANARY}",
                "AWS_SECRET_ACCESS_KEY": f"key-{CANARY}",
                "AWS_DEFAULT_REGION": "us-east-1",
                "AWS_MAX_ATTEMPTS": "1",
                "AWS_ENDPOINT_URL": f"http://user:{CANARY}@127.0.0.1:1",
                "LOUPE_MLFLOW": f"http://user:{CANARY}@127.0.0.1:1",
                **environ,
            },
        )
        for path in tmp_path.rglob("*"):
            assert not path.is_file() or CANARY.encode() not in path.read_bytes(), path
        output = done.stdout + done.stderr
        assert CANARY not in output
        return done.returncode, output

    return run


def _loupe(*words):
    return f"import sys; sys.argv[1:] = {list(words)!r}; from ml.cli.main import run; run()"


STEP = ("--line", "plant")
ADDRESS = f"s3://user:{CANARY}@bucket/prefix"


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (("ingest", *STEP, "--source", ADDRESS), 2, f"s3://{MASK}@bucket/prefix: credentials"),
        (("ingest", *STEP, "--source", "s3://bucket"), 75, "s3://bucket: cannot be listed"),
        (("doctor",), 0, "LOUPE_HOME"),
    ],
    ids=["address with credentials", "silent S3", "doctor"],
)
def test_an_error_names_the_place_and_not_the_secret(run, words, status, said):
    code, output = run(_loupe(*words))
    assert code == status, output
    assert said in output


def test_a_wrong_results_address_is_named_without_its_credentials(run):
    wrong = f"postgresql://user:{CANARY}@project"
    code, output = run(_loupe("ingest", *STEP), LOUPE_RESULTS=wrong)
    assert code == 2
    assert f"LOUPE_RESULTS is 'postgresql://{MASK}@project'" in output


def test_a_crash_shows_where_and_not_the_secret(run):
    script = (
        "import os, sys, ml.settings.env\n"
        "def read(*_): raise RuntimeError('lost ' + os.environ['LOUPE_TOKEN'])\n"
        "ml.settings.env.Env.read = read\n"
    )
    code, output = run(script + _loupe("ingest", *STEP))
    assert code == 1
    assert f"RuntimeError: lost {MASK}" in output
    assert "Traceback" in output


# The main job and what goes with it, in one process; the last line of each step's output counts.
_MAIN_JOB = """
import contextlib, io, json, sys
from ml.masking import mask_output
mask_output()
from ml.cli.main import main

def loupe(step, *words, line=("--line", "tiny")):
    out = io.StringIO()
    try:
        with contextlib.redirect_stdout(out):
            main([*step.split(), *line, *words], standalone_mode=False)
    finally:
        print(step, out.getvalue())
    return json.loads(out.getvalue().splitlines()[-1])

day, learned, backups = sys.argv[1:]
loupe("validate", "--batch", loupe("ingest", "--until", day)["batch"])
fit = ("--dataset", loupe("snapshot", "--until", learned)["dataset"], "--model", "classifier")
loupe("train", *fit)
loupe("search", *fit, "--trials", "1")
bundle = ("--bundle", loupe("evaluate", *fit[:2])["bundle"])
loupe("gate", *bundle)
loupe("promote", *bundle)
for step in ("shards", "predict", "speed", "publish", "reconcile", "late", "drift", "audit verify"):
    loupe(step, "--day", day)
loupe("review")
loupe("quarantine list")
loupe("backup", backups, line=())
"""


def test_no_step_prints_a_secret_or_writes_it_into_the_home(run, tmp_path, empty_mlflow):
    write_squares(tmp_path / "source")
    path = tmp_path / "lines" / "tiny.toml"
    write_training_line(path, str(tmp_path / "source"), ("classifier",))
    # Too few images for a drift test: the library that writes its report takes long to import.
    path.write_text(path.read_text().replace("min_images = 5", "min_images = 30"))
    words = ["2026-01-08", "2026-01-07", str(tmp_path / "backups")]
    script = f"import sys; sys.argv[1:] = {words!r}\n{_MAIN_JOB}"
    database = tmp_path / "home" / "mlflow.db"
    database.parent.mkdir()
    shutil.copy(empty_mlflow, database)
    code, output = run(script, LOUPE_MLFLOW=f"sqlite:///{database}")
    assert code == 0, output
    assert '"accepted": 48' in output
    assert '"snapshot": "000001"' in output


def test_masks_blot_out_secrets_and_leave_the_rest():
    text = f"s3://k:{CANARY}@b/p?X-Amz-Signature={CANARY}&x=1 token={CANARY}, at git@host/a@b"
    expected = f"s3://{MASK}@b/p?X-Amz-Signature={MASK}&x=1 token={MASK} at git@host/a@b"
    assert masked(text) == expected
    pem = f"-----BEGIN PRIVATE KEY-----\n{CANARY}\n-----END PRIVATE KEY-----"
    assert masked(f"key {pem} end") == f"key {MASK} end"
    environ = {"LOUPE_TOKEN": CANARY, "AWS_SECRET_ACCESS_KEY": "test", "X_TOKEN": __file__}
    assert secrets_of(environ) == [CANARY]
    assert secrets_of({"ANY": "postgresql://u:pass/word-1@h/db"}) == []
    assert secrets_of({"ANY": "postgresql://u:password-1@h/db"}) == ["password-1"]
