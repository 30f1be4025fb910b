"""The values of the Airflow chart fit the DAGs, name their secrets, and are clean YAML."""

import re
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
    rows = (FOLDER / "values.yaml").read_text().splitlines()
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


def test_the_image_and_versions_are_the_projects(values):
    lock = (ROOT / "requirements.lock").read_text()
    assert f"apache-airflow=={values['airflowVersion']}\n" in lock
    version = re.search(r'^version = "(.*)"', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert values["defaultAirflowTag"] == version[1]
    user = re.search(r"^USER (\d+)", (ROOT / "deploy/steps.Dockerfile").read_text(), re.MULTILINE)
    assert str(values["uid"]) == user[1]


def test_workers_grow_with_the_images_and_fall_with_the_rate():
    slow = sizing.sizes(dict.fromkeys(sizing.HOURS, 10.0)).splitlines()
    fast = sizing.sizes(dict.fromkeys(sizing.HOURS, 100.0)).splitlines()
    predict = [int(row.split("|")[4].replace(",", "")) for row in (slow[4], fast[4], slow[6])]
    assert predict == [5, 1, 463]  # a million at 10/s and 100/s, a hundred million at 10/s
