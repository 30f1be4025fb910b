"""Seal a bundle with checksums, and load it only when every byte is as sealed."""

import hashlib
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from ml import files
from ml.bundle.card import SCHEMA_VERSION, Card
from ml.errors import BundleError

MANIFEST = "MANIFEST"
CARD = "card.json"
REFERENCE = "reference.parquet"


@dataclass(frozen=True)
class Bundle:
    """A verified bundle on disk. `name` is the hash of its manifest."""

    name: str
    folder: Path
    card: Card

    def model(self, name: str) -> Path:
        """Path of one ONNX model; raises BundleError when the bundle has no such model."""
        if name not in self.card.models:
            msg = f"bundle {self.name} has no {name}; it has {', '.join(self.card.models)}"
            raise BundleError(msg)
        return self.folder / f"{name}.onnx"

    @property
    def reference(self) -> Path:
        """The drift reference (Parquet)."""
        return self.folder / REFERENCE


def seal_bundle(draft: Path, bundles: Path) -> Bundle:
    """Write the manifest of a finished draft folder and move it to `bundles/<hash>`.

    Sealing the same content twice gives the same name and leaves the first copy. The draft is
    gone afterwards.
    """
    names = sorted(path.name for path in draft.iterdir() if path.name != MANIFEST)
    manifest = "".join(f"{files.sha256(draft / name)}  {name}\n" for name in names)
    name = _name(manifest)
    target = bundles / name
    if target.exists():
        shutil.rmtree(draft)
        return load_bundle(target)
    files.write_bytes(draft / MANIFEST, manifest.encode())
    target.parent.mkdir(parents=True, exist_ok=True)
    draft.replace(target)
    return load_bundle(target)


def load_bundle(folder: Path) -> Bundle:
    """Read and verify a bundle.

    Raises BundleError naming the file when anything is missing, added or altered, when the folder
    is not named by its manifest, or when the card has another schema version.
    """
    try:
        manifest = (folder / MANIFEST).read_text()
    except (FileNotFoundError, NotADirectoryError) as error:
        msg = f"{folder}: not a bundle, it has no {MANIFEST}"
        raise BundleError(msg) from error
    if _name(manifest) != folder.name:
        msg = f"{folder / MANIFEST}: altered; its hash is {_name(manifest)}, not {folder.name}"
        raise BundleError(msg)
    _verify(folder, manifest)
    return Bundle(folder.name, folder, _read_card(folder / CARD))


def _verify(folder: Path, manifest: str) -> None:
    expected = {
        name: digest for digest, name in (row.split("  ", 1) for row in manifest.split("\n") if row)
    }
    present = {path.name for path in folder.iterdir()} - {MANIFEST}
    if difference := present ^ set(expected):
        msg = f"{folder}: files missing or added since it was sealed: {sorted(difference)}"
        raise BundleError(msg)
    for name, digest in expected.items():
        if files.sha256(folder / name) != digest:
            msg = f"{folder / name}: altered since the bundle was sealed; train or restore it again"
            raise BundleError(msg)


def _read_card(path: Path) -> Card:
    document = json.loads(path.read_text())
    if document.get("schema_version") != SCHEMA_VERSION:
        found = document.get("schema_version")
        msg = f"{path}: schema version {found}; this Loupe reads {SCHEMA_VERSION}"
        raise BundleError(msg)
    try:
        return Card.model_validate(document)
    except ValidationError as error:
        msg = f"{path}: not a card: {error}"
        raise BundleError(msg) from error


def _name(manifest: str) -> str:
    return hashlib.sha256(manifest.encode()).hexdigest()[:32]
