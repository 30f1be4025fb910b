"""The container, pipeline and workflow files are valid and keep what they promise."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
ONE_SHOT = {"migrate", "buckets"}
DOCKERFILES = ["serving/Dockerfile", "deploy/steps.Dockerfile"]


def check(*command: str | Path) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def compose():
    return yaml.safe_load((ROOT / "docker-compose.yaml").read_text())


@pytest.mark.parametrize(
    ("schema", "path"),
    [
        ("vendor.compose-spec", "docker-compose.yaml"),
        ("vendor.github-workflows", ".github/workflows/ci.yml"),
        ("custom.github-workflows-require-timeout", ".github/workflows/ci.yml"),
    ],
)
def test_a_file_fits_its_schema(schema, path):
    check(BIN / "check-jsonschema", "--builtin-schema", schema, path)


@pytest.mark.parametrize("path", DOCKERFILES)
def test_hadolint_finds_nothing_in_a_dockerfile(path):
    check(BIN / "hadolint", path)


@pytest.mark.parametrize("path", DOCKERFILES)
def test_an_image_ends_as_an_ordinary_user_with_one_number(path):
    text = (ROOT / path).read_text()
    assert re.findall(r"^USER (.*)$", text, re.MULTILINE)[-1] == "10001"
    assert "--uid 10001" in text


@pytest.mark.parametrize("path", DOCKERFILES)
def test_all_that_a_dockerfile_copies_is_there_and_not_ignored(path):
    ignored = (ROOT / ".dockerignore").read_text().split()
    copies = re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / path).read_text(), re.MULTILINE)
    for source in " ".join(copies).split():
        assert (ROOT / source).exists(), source
        assert source.rstrip("/") not in ignored


def test_the_serving_image_installs_only_the_serve_extra():
    text = (ROOT / "serving/Dockerfile").read_text()
    assert re.findall(r'"\.\[(\w+)\]"', text) == ["serve"]
    assert "--requirement" not in text
    assert "HEALTHCHECK" in text


def test_secrets_stay_out_of_git_and_of_images():
    assert "secrets" in (ROOT / ".dockerignore").read_text().split()
    check("git", "check-ignore", "--quiet", "secrets/postgres_password")


def test_the_stack_has_all_its_parts(compose):
    assert set(compose["services"]) == {
        "postgres", "redis", "s3", "buckets", "firestore", "mlflow", "migrate", "api-server",
        "scheduler", "dag-processor", "triggerer", "worker", "worker-cpu", "worker-gpu", "api",
    }  # fmt: skip


def test_nothing_is_published_beyond_loopback(compose):
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert len(ports) >= 5
    assert all(port.startswith("127.0.0.1:") for port in ports)
    assert len({port.split(":")[1] for port in ports}) == len(ports)


def test_every_lasting_service_is_checked_and_restarted(compose):
    for name, service in compose["services"].items():
        if name not in ONE_SHOT:
            assert "healthcheck" in service, name
            assert service["restart"] == "unless-stopped", name


def test_every_image_has_a_fixed_tag(compose):
    for name, service in compose["services"].items():
        tag = service["image"].partition(":")[2]
        assert tag not in ("", "latest"), name


def test_no_secret_stands_in_the_file(compose):
    for name, service in compose["services"].items():
        for key, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|SECRET|TOKEN|FERNET|_USER_FILE|CREDENTIALS|CONN", key):
                assert "/run/secrets/" in value, f"{name}: {key}"
        mounted = set(service.get("secrets", []))
        used = set(re.findall(r"/run/secrets/(\w+)", yaml.dump(service)))
        assert used == mounted, name
    assert all(list(secret) == ["file"] for secret in compose["secrets"].values())


def test_only_the_service_that_seals_bundles_has_the_signing_key(compose):
    signers = {n for n, s in compose["services"].items() if "bundle_signing_key" in yaml.dump(s)}
    assert signers == {"worker-cpu", "worker-gpu"}
    steps = (ROOT / "dags" / "train.py").read_text()
    assert re.search(r'step\("evaluate", .*\*\*GPU\)', steps)
    for name in ("api", "worker", *signers):
        trusted = compose["services"][name]["environment"]["LOUPE_TRUSTED_KEYS"]
        assert trusted == "/run/secrets/bundle_public_keys"


def test_the_keys_of_make_secrets_sign_and_verify(tmp_path):
    from ml.bundle.keys import key_id, signing_key, trusted_keys
    from ml.settings import Env, Home

    shutil.copytree(ROOT / "deploy", tmp_path / "deploy")
    check("bash", tmp_path / "deploy" / "make_secrets.sh")
    environ = {
        "LOUPE_HOME": str(tmp_path / "home"),
        "LOUPE_SIGNING_KEY": str(tmp_path / "secrets" / "bundle_signing_key"),
        "LOUPE_TRUSTED_KEYS": str(tmp_path / "secrets" / "bundle_public_keys"),
    }
    home = Home.of(Env.read(environ))
    assert set(trusted_keys(home)) == {key_id(signing_key(home).public_key())}
    assert not (tmp_path / "home").exists()


def test_what_a_service_waits_for_can_come_true(compose):
    for name, service in compose["services"].items():
        for needed, how in service.get("depends_on", {}).items():
            ends = how["condition"] == "service_completed_successfully"
            assert ends == (needed in ONE_SHOT), f"{name} waits for {needed}"
            assert "profiles" not in compose["services"][needed]


def test_make_secrets_gives_every_secret_and_keeps_it(compose, tmp_path):
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy")
    script = tmp_path / "deploy" / "make_secrets.sh"
    check("bash", script)
    made = {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}
    assert set(made) == set(compose["secrets"])
    assert {name for name, content in made.items() if not content} == {"review_token"}
    assert (tmp_path / "secrets").stat().st_mode & 0o077 == 0
    check("bash", script)
    assert made == {path.name: path.read_text() for path in (tmp_path / "secrets").iterdir()}


def test_airflow_finds_its_database_through_the_secret(compose, tmp_path):
    (tmp_path / "postgres_password").write_text("s3cret")
    command = compose["services"]["scheduler"]["environment"][
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_CMD"
    ]
    command = command.replace("$$", "$").replace("/run/secrets", str(tmp_path))
    # As airflow.configuration.run_command does.
    done = subprocess.run(shlex.split(command), capture_output=True, text=True, check=True)
    assert done.stdout == "postgresql+psycopg2://airflow:s3cret@postgres/airflow"


def test_the_workers_take_the_queues_that_the_dags_use(compose):
    commands = [" ".join(map(str, s.get("command", []))) for s in compose["services"].values()]
    queues = {q for c in commands for q in re.findall(r"--queues (\w+)", c)}
    assert queues == {"default", "gpu"}
    assert any("pools set gpu" in command for command in commands)


def test_one_worker_of_the_gpu_queue_has_the_gpus_and_one_needs_none(compose):
    takers = {
        name: service
        for name, service in compose["services"].items()
        if "gpu" in service.get("command", [])
    }
    assert {name: service["profiles"] for name, service in takers.items()} == {
        "worker-cpu": ["cpu"],
        "worker-gpu": ["gpu"],
    }
    devices = takers["worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert devices == [{"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}]
    assert "deploy" not in takers["worker-cpu"]


def test_every_volume_is_named_and_used(compose):
    mounted = {
        _default(volume).split(":")[0]
        for service in compose["services"].values()
        for volume in service.get("volumes", [])
    }
    named = {"home", "backups", "postgres", "redis", "s3"}
    assert mounted - {"./lines"} == set(compose["volumes"]) == named


def _default(text):
    """What compose makes of a text where no variable of it is set."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


def test_a_backup_outlives_the_container_and_its_folder_is_the_users(compose):
    volumes = [_default(volume) for volume in compose["services"]["worker"]["volumes"]]
    assert "backups:/backups" in volumes
    assert set(compose["services"]["scheduler"]["volumes"]) < set(volumes)
    text = (ROOT / "deploy/steps.Dockerfile").read_text()
    assert re.search(r"install --directory --owner loupe .*/backups$", text, re.MULTILINE)
    page = (ROOT / "README.md").read_text()
    assert "docker compose exec worker loupe backup /backups" in page


def test_only_who_asks_for_the_emulator_gets_it(compose):
    for name in ("worker", "api"):
        environment = compose["services"][name]["environment"]
        # Compose passes on what the caller has, and sets nothing where that is nothing.
        assert environment["FIRESTORE_EMULATOR_HOST"] is None
        assert environment["GOOGLE_APPLICATION_CREDENTIALS"] == "/run/secrets/google_credentials"


def test_the_api_takes_its_token_from_the_secret(compose, tmp_path):
    (tmp_path / "review_token").write_text("s3cret")
    shell, flag, words = compose["services"]["api"]["command"]
    words = words.replace("$$", "$").replace("/run/secrets", str(tmp_path))
    words = re.sub(r"exec python -m serving .*", 'printf %s "$(printenv LOUPE_TOKEN)"', words)
    done = subprocess.run([shell, flag, words], capture_output=True, text=True, check=True)
    assert done.stdout == "s3cret"
    (started,) = re.findall(r"exec (.*)$", compose["services"]["api"]["command"][2])
    text = (ROOT / "serving/Dockerfile").read_text()
    (image,) = re.findall(r"^CMD (\[.*\])$", text, re.MULTILINE)
    assert started.split() == yaml.safe_load(image)


def test_what_reads_lines_sees_the_folder_and_may_not_write_to_it(compose):
    readers = {
        name
        for name, service in compose["services"].items()
        if "LOUPE_HOME" in service.get("environment", {})
    }
    assert {"worker", "worker-cpu", "worker-gpu", "dag-processor", "api"} <= readers
    for name in readers:
        assert "./lines:/app/lines:ro" in compose["services"][name]["volumes"], name
    for path in DOCKERFILES:
        assert "LOUPE_LINES=/app/lines" in (ROOT / path).read_text()


def test_the_images_of_the_demo_line_lie_in_the_volume_of_the_home(compose, tmp_path):
    """The links that the image makes, made here; then the real command, from the same folder."""
    text = (ROOT / "deploy/steps.Dockerfile").read_text()
    (work,) = re.findall(r"^WORKDIR (/\S+)$", text, re.MULTILINE)
    home = compose["services"]["worker"]["environment"]["LOUPE_HOME"]
    for place in (work, home):
        (tmp_path / place[1:]).mkdir(parents=True)
    for target, link in re.findall(r"^RUN ln -s (\S+) (\S+)$", text, re.MULTILINE):
        (tmp_path / work[1:] / link).symlink_to(tmp_path / target[1:])
    done = subprocess.run(
        [sys.executable, "-m", "ml.cli", "demo-images", "--line", "demo"],
        cwd=tmp_path / work[1:], capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": str(ROOT), "LOUPE_LINES": str(ROOT / "lines"),
                          "LOUPE_HOME": str(tmp_path / home[1:])},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / home[1:] / "sources" / "demo" / "manifest.csv").exists()


def test_the_worker_with_the_gpus_alone_has_an_onnx_runtime_for_them(compose):
    gpu = compose["services"]["worker-gpu"]
    for name, service in compose["services"].items():
        if name != "worker-gpu":
            assert service["image"] != gpu["image"], name
            assert "ONNXRUNTIME" not in yaml.dump(service), name
    text = (ROOT / "deploy/steps.Dockerfile").read_text()
    (default,) = re.findall(r"^ARG ONNXRUNTIME=(\S+)$", text, re.MULTILINE)
    (swap,) = re.findall(r'sed --in-place "(.*)" requirements.lock', text)
    lock = (ROOT / "requirements.lock").read_text()
    (version,) = re.findall(r"^onnxruntime==(\S+)$", lock, re.MULTILINE)
    for name in (default, gpu["build"]["args"]["ONNXRUNTIME"]):
        command = ["sed", swap.replace("${ONNXRUNTIME}", name)]
        made = subprocess.run(command, input=lock, capture_output=True, text=True, check=True)
        changed = set(made.stdout.splitlines()) - set(lock.splitlines())
        assert changed == (set() if name == default else {f"{name}=={version}"})


def make(target, **variables):
    settings = [f"{name}={value}" for name, value in variables.items()]
    done = subprocess.run(
        ["make", "--dry-run", target, *settings],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout


@pytest.mark.skipif(shutil.which("make") is None, reason="no make: its targets are NOT checked")
def test_make_starts_and_ends_the_containers_of_the_profile_asked_for():
    assert "--profile cpu " in make("up")
    assert "--profile gpu " in make("up", GPU=1)
    asked = "FIRESTORE_EMULATOR_HOST=firestore:8080 LOUPE_RESULTS=firestore:loupe-local docker"
    assert asked in make("up", FIRESTORE=1)
    assert "FIRESTORE_EMULATOR_HOST" not in make("up")
    for target in ("down", "logs"):
        text = make(target)
        assert all(f"--profile {one} " in text for one in ("cpu", "gpu", "firestore"))


def test_actions_are_pinned_and_the_workflow_runs_the_scripts():
    text = (ROOT / ".github/workflows/ci.yml").read_text()
    uses = re.findall(r"uses: \S+@(\S+)", text)
    assert uses
    assert all(re.fullmatch(r"v\d+\.\d+\.\d+", version) for version in uses)
    for script in re.findall(r"run: (ci/\S+)", text):
        assert os.access(ROOT / script, os.X_OK), script


def test_docker_compose_itself_accepts_the_file(tmp_path):
    probe = shutil.which("docker") and subprocess.run(
        ["docker", "compose", "version"], capture_output=True, check=False
    )
    if not probe or probe.returncode:
        pytest.skip("docker's compose plugin is not installed: only the schema was checked")
    check("docker", "compose", "--file", "docker-compose.yaml", "config", "--quiet")
