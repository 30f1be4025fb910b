"""A planted secret is in no output and in no file, whatever fails."""

import json
import os
import shutil
import subprocess
import sys
from urllib.parse import quote

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
    for text, expected in {
        f'{{"password": "pa\\"{CANARY}", "x": 1}}': f'{{"password": "{MASK}", "x": 1}}',
        f"{{'aws_secret_key': '{CANARY}'}}": f"{{'aws_secret_key': '{MASK}'}}",
        f'say "{{\\"api_key\\": \\"{CANARY}\\"}}"': f'say "{{\\"api_key\\": \\"{MASK}\\"}}"',
        f"connect(password='{CANARY} 1', port=5)": f"connect(password='{MASK}', port=5)",
        f"access_token={CANARY}": f"access_token={MASK}",
        f"Authorization: Basic {CANARY}\nnext": f"Authorization: {MASK}\nnext",
        f"{{'authorization': 'Token {CANARY}', 'x': 1}}": f"{{'authorization': '{MASK}', 'x': 1}}",
        f"curl -H bearer {CANARY}== -v": f"curl -H bearer {MASK} -v",
        '{"password": null, "tokens": 512}': '{"password": null, "tokens": 512}',
        "token: none, password or secret": "token: none, password or secret",
    }.items():
        assert masked(text) == expected
    pem = f"-----BEGIN PRIVATE KEY-----\n{CANARY}\n-----END PRIVATE KEY-----"
    assert masked(f"key {pem} end") == f"key {MASK} end"
    environ = {"LOUPE_TOKEN": CANARY, "AWS_SECRET_ACCESS_KEY": "test", "X_TOKEN": __file__}
    assert secrets_of(environ) == [CANARY]
    assert "pass/word-1" in secrets_of({"ANY": "postgresql://u:pass/word-1@h/db"})
    assert secrets_of({"ANY": "postgresql://u:password-1@h/db"}) == ["password-1"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"password: {CANARY}", f"password: {MASK}"),
        (f"  api_key: {CANARY}\nnext: 1", f"  api_key: {MASK}\nnext: 1"),
        (f"X-Api-Key: {CANARY}", f"X-Api-Key: {MASK}"),
        (f"aws_secret_access_key = {CANARY}", f"aws_secret_access_key = {MASK}"),
        (f"tool --password {CANARY} -v", f"tool --password {MASK} -v"),
        (f"['--db-password', '{CANARY}', 'x']", f"['--db-password', '{MASK}', 'x']"),
        (f"password = b'{CANARY}'", f"password = b'{MASK}'"),
        (f"{{'private_key': '{CANARY}'}}", f"{{'private_key': '{MASK}'}}"),
        (f"('Authorization', 'Basic {CANARY}')", f"('Authorization', '{MASK}')"),
        (f"{{'Authorization': b'Basic {CANARY}'}}", f"{{'Authorization': b'{MASK}'}}"),
        (f"postgresql://u:p@{CANARY}@host/db", f"postgresql://{MASK}@host/db"),
        (f"redis://:1/{CANARY}/2@host:6379/0 a@b", f"redis://:1/{CANARY}/2@host:6379/0 a@b"),
        (f"redis://:s/{CANARY}/2@host:6379/0 a@b", f"redis://{MASK}@host:6379/0 a@b"),
    ],
)
def test_a_value_without_quotes_or_in_bytes_is_blotted_out(text, expected):
    assert masked(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "Password: ",
        "password: the one of the results store, 12 letters at least",
        "the option --password is required",
        "--token-file /run/secrets/token1 and --password-file x1234567",
        "['--token-file', '/run/secrets/token1']",
        "['--no-token', '--verbose', '4']",
        "token count: 12ab34cd, tokens: 123456789",
        "token: end-of-line",
        "token = sha256(name)",
        "password: ${PASSWORD_1} or <password1>",
        "http://host:8080/parts/a@b",
        "http://host:8080/x, mail a@b, http://[::1]:80/x@y",
        "kafka://h1:9092,h2:9092/a,b@c",
    ],
)
def test_ordinary_text_stays(text):
    assert masked(text) == text


def test_a_secret_of_the_environment_is_known_in_other_spellings():
    plain = 'p@ss/"word"\\ö-1'
    address = f"postgresql://u:{quote(plain, safe='')}@host/db"
    for environ in ({"X_PASSWORD": plain}, {"ANY": address}):
        secrets = secrets_of(environ)
        for text in (plain, quote(plain), quote(plain, safe=""), json.dumps(plain), repr([plain])):
            assert "ord" not in masked(f"lost {text}", secrets)
    lines = f"-----BEGIN PRIVATE KEY-----\n  {CANARY}\r\nshort\n-----END PRIVATE KEY-----\n"
    secrets = secrets_of({"SOME_PRIVATE_KEY": lines})
    assert masked(f"lost {CANARY}, short", secrets) == f"lost {MASK}, short"
    assert "-----BEGIN PRIVATE KEY-----" not in secrets


def test_a_secret_in_pieces_is_seen_when_its_line_is_whole(run):
    script = f"""
import sys
from ml.masking import mask_output
mask_output()
for part in ("first ", "{CANARY[:9]}", "{CANARY[9:]}", " last", chr(10), "password", "="):
    sys.stdout.write(part)
print("{CANARY[::-1]}", end="")
sys.stdout.flush()
print(" and more, without an end", end="")
"""
    _, output = run(script)
    assert output == f"first {MASK} last\npassword={MASK} and more, without an end"


def test_a_private_key_in_lines_is_blotted_out_and_what_follows_is_not(run):
    body = ["-----BEGIN RSA PRIVATE KEY-----", "Proc-Type: 4,ENCRYPTED", "", "A0+/" * 16, "A0+/=="]
    end = "-----END RSA PRIVATE KEY-----"
    script = f"""
import logging
from ml.masking import mask_output
mask_output()
logging.basicConfig(format="%(message)s", level="INFO")
for lines in ({[*body, end, "after it"]}, {[*body, "without an end"]}):
    for line in lines:
        print(line)
        logging.info(line)
print("all\\n" + {chr(10).join([*body, end + " end"])!r})
"""
    _, output = run(script)
    assert "A0+/" not in output
    assert "ENCRYPTED" not in output
    said = [MASK, "after it", MASK, "without an end"]
    assert output.splitlines() == [*said, "all", MASK, "end", *said]


def test_text_without_an_end_is_written_whatever_thread_wrote_it(run):
    script = f"""
import os, sys, threading, time
from ml.masking import mask_output
mask_output()

def last_words():
    print("last words {CANARY}", end="")

def running():
    sys.stderr.write("token")
    started.set()
    flushed.wait()
    sys.stderr.write("={CANARY[::-1]}")
    ended.set()
    time.sleep(60)

thread = threading.Thread(target=last_words)
thread.start()
thread.join()
sys.stdout.flush()
os.write(1, b" | ")
started, flushed, ended = threading.Event(), threading.Event(), threading.Event()
threading.Thread(target=running, daemon=True).start()
started.wait()
sys.stderr.flush()  # of another thread: the line goes on
flushed.set()
ended.wait()
"""
    _, output = run(script)
    assert output == f"last words {MASK} | token={MASK}"


def test_a_forked_child_does_not_write_what_its_parent_will(run):
    script = """
import os, sys
from ml.masking import mask_output
mask_output()
print("once", end="")
if not os.fork():
    sys.stdout.flush()
    os._exit(0)
os.wait()
"""
    assert run(script) == (0, "once")


def test_a_result_stays_json_and_holds_no_known_secret(run):
    result = {
        "reasons": ["password='abc", f"lost {CANARY}", f"s3://k:{CANARY}@b/p"],
        "objects": {"token=a/b.png": 1, f"x-{CANARY}": None},
        "z": 1,
    }
    script = f"""
import ml.cli.step
from ml.masking import mask_output
mask_output()
ml.cli.step.ensure_current = lambda home: None

@ml.cli.step.step
def report(context):
    print("token", end="")
    return {result!r}

report(["--line", "plant"])
"""
    code, output = run(script)
    assert code == 0, output
    rest, line = output.splitlines()
    assert rest == "token"
    assert json.loads(line) == {
        "reasons": ["password='abc", f"lost {MASK}", f"s3://{MASK}@b/p"],
        "objects": {"token=a/b.png": 1, f"x-{MASK}": None},
        "z": 1,
    }
