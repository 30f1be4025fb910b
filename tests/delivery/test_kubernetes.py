"""The values of the Airflow chart fit the DAGs, name their secrets, and are clean YAML."""

import os
import re
import subprocess
import time
from pathlib import Path

import pytest
import sizing
import yaml

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "k8s"


class _Strict(yaml.SafeLoader):
    """Refuses a key that stands twice in one mapping, which YAML readers quietly let win."""


def _mapping(loader, node):
    keys = [loader.construct_object(key) for key, _ in node.value]
    twice = {key for key in keys if keys.count(key) > 1}
    assert not twice, f"line {node.start_mark.line + 1}: {twice} twice"
    return loader.construct_mapping(node, deep=True)


_Strict.add_constructor("tag:yaml.org,2002:map", _mapping)


@pytest.fixture(scope="module")
def values():
    return yaml.load((FOLDER / "values.yaml").read_text(), _Strict)


def test_the_yaml_is_tidy():
    rows = "".join(path.read_text() for path in FOLDER.glob("*.yaml")).splitlines()
    assert not [number for number, row in enumerate(rows, 1) if row != row.rstrip() or "\t" in row]
    assert all(len(row) <= 120 for row in rows)
    assert all((len(row) - len(row.lstrip())) % 2 == 0 for row in rows)


def test_every_queue_of_the_dags_has_a_set_of_workers_that_scales(values):
    celery = values["workers"]["celery"]
    sets = {celery["queue"]: celery, **{one["queue"]: one for one in celery["sets"]}}
    dags = "".join(path.read_text() for path in (ROOT / "plugins").glob("*.py"))
    assert set(sets) == {"default", *re.findall(r'"queue": "(\w+)"', dags)}
    for one in sets.values():
        assert one["keda"]["enabled"]
        assert one["keda"]["minReplicaCount"] < one["keda"]["maxReplicaCount"]


def test_gpu_workers_go_to_gpu_nodes_and_alone_can_sign(values):
    (gpu,) = values["workers"]["celery"]["sets"]
    assert gpu["resources"]["limits"]["nvidia.com/gpu"] == "1"
    assert gpu["nodeSelector"]
    assert [one["key"] for one in gpu["tolerations"]] == ["nvidia.com/gpu"]
    everywhere = {**values, "workers": {**values["workers"]["celery"], "sets": []}}
    assert "signing" in yaml.dump(gpu)
    assert "signing" not in yaml.dump(everywhere)


def test_secrets_are_named_and_described_but_not_there(values):
    text = yaml.dump(values)
    named = set(re.findall(r"[sS]ecretName: ([\w-]+)", text))
    described = set(
        re.findall(r"^\| `(loupe-[\w-]+)` \|", (FOLDER / "README.md").read_text(), re.M)
    )
    assert named == described
    assert not re.search(r"postgres(ql)?://|PRIVATE KEY|password: ", text)


def test_every_secret_of_the_environment_comes_from_a_key_that_is_described(values):
    named = {one["envName"]: one for one in values["secret"]}
    assert {
        "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY",
        "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD",
    } == set(named)  # fmt: skip
    rows = (FOLDER / "README.md").read_text().splitlines()
    for one in named.values():
        (row,) = [row for row in rows if row.startswith(f"| `{one['secretName']}` |")]
        assert f"`{one['secretKey']}`" in row
    key = _plain(values["env"])["GOOGLE_APPLICATION_CREDENTIALS"]
    google = next(one for one in values["volumeMounts"] if one["name"] == "google")
    assert key.startswith(google["mountPath"] + "/")


def _plain(env):
    return {one["name"]: one["value"] for one in env}


def test_links_of_airflow_lead_to_the_dashboard_and_not_to_the_pod(values):
    address = _plain(values["env"])["LOUPE_DASHBOARD_URL"]
    assert "127.0.0.1" not in address
    assert address.endswith("/")


def test_no_worker_takes_the_threads_of_its_whole_node(values):
    celery = values["workers"]["celery"]
    tasks = {"default": int(values["config"]["celery"]["worker_concurrency"]), "gpu": 1}
    for one in (celery, *celery["sets"]):
        threads = int(_plain(one["env"])["LOUPE_THREADS"]) * tasks[one["queue"]]
        assert threads <= 2 * int(one["resources"]["requests"]["cpu"]), one["queue"]


def test_a_job_backs_up_the_home_to_a_claim_of_its_own(values):
    claim, job = yaml.load_all((FOLDER / "backup.yaml").read_text(), _Strict)
    pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    image = f"{values['defaultAirflowRepository']}:{values['defaultAirflowTag']}"
    assert container["image"] == image
    assert pod["securityContext"]["runAsUser"] == values["uid"]
    assert _plain(container["env"]).items() <= _plain(values["env"]).items()
    mounts = {one["name"]: one["mountPath"] for one in container["volumeMounts"]}
    claims = {one["name"]: one["persistentVolumeClaim"]["claimName"] for one in pod["volumes"]}
    home = next(one for one in values["volumes"] if one["name"] == "home")
    assert claims["home"] == home["persistentVolumeClaim"]["claimName"]
    assert claims["backups"] == claim["metadata"]["name"] != claims["home"]
    assert mounts["home"] == _plain(container["env"])["LOUPE_HOME"]
    assert f" {mounts['backups']} " in container["command"][-1]


def test_the_image_and_versions_are_the_projects(values):
    lock = (ROOT / "requirements.lock").read_text()
    assert f"apache-airflow=={values['airflowVersion']}\n" in lock
    version = re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert values["defaultAirflowTag"] == version[1]
    user = re.search(r"^USER (\d+)", (ROOT / "deploy/steps.Dockerfile").read_text(), re.MULTILINE)
    assert str(values["uid"]) == user[1]


def test_the_broker_of_a_redis_with_a_password_is_named_and_its_secret_can_be_made(values):
    # The chart refuses the one without the other.
    assert values["redis"]["passwordSecretName"] == "loupe-redis"
    assert values["data"]["brokerUrlSecretName"] == "loupe-broker"
    page = (FOLDER / "README.md").read_text()
    assert "create secret generic loupe-redis --from-literal=password=" in page
    assert '--from-literal=connection="redis://:$password@airflow-redis:6379/0"' in page


def test_the_image_has_the_scripts_that_the_pods_of_the_chart_start(tmp_path):
    text = (ROOT / "deploy/steps.Dockerfile").read_text()
    copied = dict(re.findall(r"^COPY (deploy/\S+) (/\S+)$", text, re.MULTILINE))
    scripts = {place: ROOT / source for source, place in copied.items()}
    assert set(scripts) == {"/entrypoint", "/clean-logs"}
    # The words of a liveness probe, as the chart starts them.
    command = ["sh", "-c", f"exec {scripts['/entrypoint']} sh -c 'echo \"$0 $1\"' 'two words' end"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "two words end\n"
    old, new = tmp_path / "logs" / "dag" / "old.log", tmp_path / "logs" / "new.log"
    for path in (old, new):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    weeks_ago = time.time() - 30 * 86_400
    os.utime(old, (weeks_ago, weeks_ago))
    # Endless in a pod; here its first wait ends it.
    once = scripts["/clean-logs"].read_text().replace("sleep 900", "exit 0")
    environment = os.environ | {"AIRFLOW_HOME": str(tmp_path)}
    subprocess.run(["bash", "-c", once], env=environment, check=True, timeout=20)
    assert not old.exists()
    assert new.exists()


def test_logs_outlive_their_pod_and_nothing_needs_a_package_that_is_not_there(values):
    logs = values["logs"]["persistence"]
    assert logs["enabled"]
    page = (FOLDER / "README.md").read_text()
    assert f"`{logs['existingClaim']}`" in page
    home = next(one for one in values["volumes"] if one["name"] == "home")
    assert logs["existingClaim"] != home["persistentVolumeClaim"]["claimName"]
    lock = (ROOT / "requirements.lock").read_text()
    assert values["statsd"]["enabled"] == ("\nstatsd==" in lock)


def test_the_image_of_the_gpu_workers_is_the_one_with_cuda(values):
    compose = yaml.safe_load((ROOT / "docker-compose.yaml").read_text())
    gpu = compose["services"]["worker-gpu"]
    assert values["defaultAirflowRepository"].endswith(gpu["image"].split(":")[0])
    argument = f'--build-arg "ONNXRUNTIME={gpu["build"]["args"]["ONNXRUNTIME"]}"'
    assert argument in (FOLDER / "values.yaml").read_text()
    assert argument in (FOLDER / "README.md").read_text()


def test_workers_grow_with_the_images_and_fall_with_the_rate():
    slow = sizing.sizes(dict.fromkeys(sizing.HOURS, 10.0)).splitlines()
    fast = sizing.sizes(dict.fromkeys(sizing.HOURS, 100.0)).splitlines()
    predict = [int(row.split("|")[4].replace(",", "")) for row in (slow[4], fast[4], slow[6])]
    assert predict == [5, 1, 463]  # a million at 10/s and 100/s, a hundred million at 10/s
