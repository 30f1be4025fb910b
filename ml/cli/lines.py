"""`loupe line`: which lines there are, and whether a line file is right."""

import importlib.util
import json

import click

from ml.cli.step import clear_errors, line_file
from ml.settings import Env, LineConfig, load_line, load_lines


@click.group()
def line() -> None:
    """The inspection lines."""


@line.command(name="list")
def list_lines() -> None:
    """Name and title of every line."""
    with clear_errors():
        for path in load_lines(Env.read().lines).values():
            config = load_line(path)
            print(f"{config.name:<20} {config.title} ({', '.join(config.models)})")


@line.command()
@click.argument("name")
def check(name: str) -> None:
    """Check a line file, its source and its weights."""
    with clear_errors():
        config = load_line(line_file(Env.read(), name))
        from ml.data.layout import describe
        from ml.data.source import open_source

        _require_trainable(config)
        source = open_source(config.source.uri)
        images = describe(config.source.layout, {item.key for item in source.list()}, source.read)
        labelled = sum(bool(facts.label or facts.mask_key) for facts in images.values())
        groups = len({facts.group for facts in images.values()})
    result = {"line": config.name, "images": len(images), "labelled": labelled, "groups": groups}
    print(json.dumps(result))


def _require_trainable(config: LineConfig) -> None:
    from ml.training.enough import require_mask_source
    from ml.training.run import weights_sha256

    require_mask_source(config)
    # Where a line is only looked at, timm need not be installed.
    has_timm = importlib.util.find_spec("timm") is not None
    for model in config.models:
        backbone = config.backbone_of(model)
        weights_sha256(backbone)
        if has_timm:
            from ml.models.backbones import require_known

            require_known(backbone)
    if has_timm:
        from ml.training.networks import require_networks

        require_networks(config)
