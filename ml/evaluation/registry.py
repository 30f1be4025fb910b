"""The MLflow model registry: one registered model a line, one version a bundle, two aliases."""

from typing import Any, Literal

from ml.bundle import Bundle
from ml.errors import StackError
from ml.settings import Env
from ml.training.tracking import open_client

Alias = Literal["champion", "challenger"]


def register(env: Env, bundle: Bundle, alias: Alias) -> str:
    """Register a bundle, give it the alias and return its version; repeated, it changes nothing.

    A bundle that becomes champion is no challenger any more. Raises StackError when MLflow does
    not answer or refuses.
    """
    from mlflow.exceptions import MlflowException

    try:
        return _register(env, bundle, alias)
    except MlflowException as error:
        msg = f"MLflow at {env.mlflow} refused bundle {bundle.name}: {error}; run the step again"
        raise StackError(msg) from error


def _register(env: Env, bundle: Bundle, alias: Alias) -> str:
    client = open_client(env)
    model = f"loupe-{bundle.card.line}"
    _ensure_model(client, model)
    version = _find(client, model, bundle) or _create(client, model, bundle, _source(env, bundle))
    aliases = client.get_registered_model(model).aliases
    if str(aliases.get(alias, "")) != version:
        client.set_registered_model_alias(model, alias, version)
    if alias == "champion" and str(aliases.get("challenger", "")) == version:
        client.delete_registered_model_alias(model, "challenger")
    return version


def _ensure_model(client: Any, model: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.get_registered_model(model)
    except MlflowException:
        client.create_registered_model(model, description="Bundles of one inspection line.")


def _find(client: Any, model: str, bundle: Bundle) -> str | None:
    found = client.search_model_versions(f"name = '{model}' and tags.bundle = '{bundle.name}'")
    return str(min(found, key=lambda version: int(version.version)).version) if found else None


def _source(env: Env, bundle: Bundle) -> str:
    # A server refuses folders that are not its own; it gets the name, the tag has the folder.
    if env.mlflow.startswith("http"):
        return f"loupe-bundle:/{bundle.name}"
    return bundle.folder.as_uri()


def _create(client: Any, model: str, bundle: Bundle, source: str) -> str:
    card = bundle.card
    tags = {"bundle": bundle.name, "dataset": card.dataset, "code": card.code}
    tags["folder"] = str(bundle.folder)
    auroc = card.metrics.get("fused.auroc")
    if auroc is not None and auroc.value is not None:
        tags["fused.auroc"] = str(auroc.value)
    made = client.create_model_version(model, source=source, tags=tags)
    return str(made.version)
