"""A real server process: it answers over HTTP, stays light, and refuses wrong settings clearly."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from live_line import LINE, png

ROOT = Path(__file__).parents[2]
HEAVY = ("torch", "torchvision", "pandas", "mlflow", "airflow", "evidently", "pyarrow", "deltalake")
_START_SECONDS = 90

# Serves one prediction through the app, then says what is loaded.
_PREDICT_AND_LIST = """
import io, json, sys
from serving import create_app
client = create_app().test_client()
data = {"image": (io.BytesIO(open(sys.argv[1], "rb").read()), "x.png"), "line": "tiny"}
verdict = client.post("/v1/predict", data=data).get_json()["verdict"]
client.get("/v1/lines")
print(json.dumps([verdict, sorted(sys.modules)]))
"""


@pytest.fixture
def environ(config):
    return {**os.environ, **config}


@pytest.fixture
def server(environ, bundle):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "serving", "--port", str(port)]
    process = subprocess.Popen(command, cwd=ROOT, env=environ)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait(address, process)
        yield address
    finally:
        process.terminate()
        process.wait(30)


def _wait(address, process):
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, "the server ended by itself"
        try:
            urllib.request.urlopen(f"{address}/healthz", timeout=5)
        except OSError:
            time.sleep(0.1)
        else:
            return
    pytest.fail(f"no answer within {_START_SECONDS} s")


def _upload(address, content):
    body = (
        b'--edge\r\nContent-Disposition: form-data; name="line"\r\n\r\n' + LINE.encode() +
        b'\r\n--edge\r\nContent-Disposition: form-data; name="image"; filename="p.png"\r\n\r\n' +
        content + b"\r\n--edge--\r\n"
    )  # fmt: skip
    request = urllib.request.Request(
        f"{address}/v1/predict",
        body,
        {"Content-Type": "multipart/form-data; boundary=edge"},
    )
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def test_a_server_process_inspects_uploads_and_refuses_too_large_ones(server, bundle):
    status, body = _upload(server, png(100))
    assert (status, body["verdict"], body["bundle"]) == (200, "fail", bundle.name)
    status, body = _upload(server, b"\0" * 2_000_000)
    assert (status, body["verdict"]) == (413, "review")
    with urllib.request.urlopen(f"{server}/readyz", timeout=30) as answer:
        assert json.load(answer)["status"] == "ready"


def test_after_a_prediction_no_heavy_library_is_loaded(environ, bundle, tmp_path):
    picture = tmp_path / "part.png"
    picture.write_bytes(png())
    command = [sys.executable, "-c", _PREDICT_AND_LIST, str(picture)]
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    verdict, modules = json.loads(done.stdout.splitlines()[-1])
    assert verdict == "pass"
    assert set(modules).isdisjoint(HEAVY)


@pytest.mark.parametrize("command", [["-m", "serving"], ["-m", "ml.cli", "serve"]])
@pytest.mark.parametrize(
    ("name", "value"), [("LOUPE_UPLOAD_MB", "many"), ("LOUPE_FRAME_ANCESTORS", "x; script-src *")]
)
def test_a_wrong_setting_is_one_message_and_status_2(environ, command, name, value):
    done = subprocess.run(
        [sys.executable, *command, "--port", "0"],
        cwd=ROOT,
        env=environ | {name: value},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    assert name in done.stderr
    assert "Traceback" not in done.stderr


_BOMB = """
import cv2, numpy as np, sys
bomb = cv2.imencode(".webp", np.zeros((11_000, 11_000, 3), np.uint8))[1].tobytes()
open(sys.argv[1], "wb").write(bomb)
"""
_UPLOAD_AND_MEASURE = """
import io, json, sys
from serving import create_app
client = create_app().test_client()
data = {"image": (io.BytesIO(open(sys.argv[1], "rb").read()), "x.webp"), "line": "tiny"}
answer = client.post("/v1/predict", data=data)
# Not ru_maxrss, which a new process inherits from the one that started it.
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
peak_mb = int(status["VmHWM"].split()[0]) / 1024
print(json.dumps([answer.status_code, answer.get_json()["verdict"], peak_mb]))
"""


def test_a_small_file_that_claims_a_huge_image_takes_no_memory(environ, bundle, tmp_path):
    picture = str(tmp_path / "bomb.webp")
    subprocess.run([sys.executable, "-c", _BOMB, picture], check=True)
    assert Path(picture).stat().st_size < 100_000
    command = [sys.executable, "-c", _UPLOAD_AND_MEASURE, picture]
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True)
    status, verdict, peak_mb = json.loads(done.stdout.splitlines()[-1])
    assert (status, verdict) == (422, "review")
    # Decoded, it would be 363 MB.
    assert peak_mb < 300
