"""The services of the production stack: what they need, where they listen, what they keep."""

import os
import signal
import subprocess
import sys

import boto3
import psutil

from ml.services import postgres, production, redis
from ml.services.processes import HOST, Processes, free_port


def test_what_is_not_installed_is_named_with_its_package(monkeypatch):
    monkeypatch.setattr(postgres, "installed", lambda: False)
    monkeypatch.setattr(redis, "installed", lambda: False)
    monkeypatch.setitem(production._MODULES, "no.such.module", "no-such-package")
    assert {
        "Debian package `postgresql`",
        "Debian package `redis-server`",
        "Python package `no-such-package` (`make setup` installs it)",
    } <= set(production.missing())


def test_a_service_that_ended_is_started_again(tmp_path):
    services = Processes(tmp_path, tmp_path)
    services.start("short", [sys.executable, "-c", "raise SystemExit(3)"], os.environ)
    services._services["short"].process.wait(30)
    assert services.revive() == {}  # not more often than every few seconds
    services._services["short"].started -= 60
    assert services.revive() == {"short": 3}
    services._services["short"].process.wait(30)


def test_objects_of_the_s3_stand_in_outlive_it(project, tmp_path):
    services = Processes(tmp_path, project)
    for content in (b"one", b"two"):
        port = free_port(9500)
        client = boto3.client(
            "s3", endpoint_url=f"http://{HOST}:{port}", region_name="us-east-1",
            aws_access_key_id="a", aws_secret_access_key="b",
        )  # fmt: skip
        services.start("s3", production._s3(tmp_path / "s3", port), os.environ)
        services.wait_for_port("s3", port)
        if content == b"two":
            kept = client.get_object(Bucket="images", Key="a/b c.png")["Body"].read()
            assert kept == b"one"
        client.put_object(Bucket="images", Key="a/b c.png", Body=content)
        process = services._services["s3"].process
        process.send_signal(signal.SIGTERM)
        process.wait(30)
    assert (tmp_path / "s3/images/a%2Fb%20c.png").read_bytes() == b"two"


def test_nothing_listens_beyond_loopback(stack):
    listening = {
        connection.laddr.ip
        for process in stack.processes()
        for connection in _connections(process)
        if connection.status == psutil.CONN_LISTEN
    }
    assert listening <= {HOST, "::1", "::ffff:127.0.0.1"}
    assert len(listening) >= 1


def _connections(process):
    try:
        return process.net_connections(kind="inet")
    except psutil.Error:
        return []


def test_a_second_stack_of_the_same_home_is_refused(project, stack):
    environ = {**os.environ, "LOUPE_HOME": str(stack.home.root)}
    done = subprocess.run(
        [sys.executable, "-m", "ml.cli", "stack"],
        cwd=project, env=environ, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 75
    assert "runs already" in done.stderr
