"""Seal a bundle with checksums and a signature, and load it only when every byte is as sealed."""

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import ValidationError

from ml import files
from ml.bundle.card import SCHEMA_VERSION, Card
from ml.bundle.keys import signing_key
from ml.bundle.signature import SIGNATURE, verify_signature, write_signature
from ml.errors import BundleError, StorageError
from ml.settings import Home

MANIFEST = "MANIFEST"
CARD = "card.json"
REFERENCE = "reference.parquet"
# What seals the rest, and is no part of it.
_SEALS = {MANIFEST, SIGNATURE}
_NAME = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Bundle:
    """A verified bundle on disk. `name` is the hash of its manifest, `signer` the id of the key."""

    name: str
    folder: Path
    card: Card
    signer: str

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


def seal_bundle(home: Home, draft: Path) -> Bundle:
    """Write manifest and signature of a finished draft folder and move it to `bundles/<hash>`.

    Sealing the same content twice gives the same name and leaves the first copy; a signature that
    is missing or not trusted there is written again. The draft is gone afterwards.
    """
    key = signing_key(home)
    names = sorted(path.name for path in draft.iterdir() if path.name not in _SEALS)
    rows = (f"{files.sha256(draft / name)}  {name}\n" for name in names)
    manifest = "".join(rows).encode()
    target = home.bundle(_name(manifest))
    if target.exists():
        shutil.rmtree(draft)
        return _vouched(home, target, key)
    files.write_bytes(draft / MANIFEST, manifest)
    write_signature(draft, manifest, key)
    target.parent.mkdir(parents=True, exist_ok=True)
    draft.replace(target)
    return load_bundle(home, target.name)


def sign_bundle(home: Home, name: str) -> Bundle:
    """Sign a bundle again whose files are all as its manifest says; BundleError when they are not.

    For bundles without a signature, or of a key that is no longer trusted. Whoever calls it vouches
    for the bundle.
    """
    folder = _folder(home, name)
    with _storage(folder):
        _verify(folder, _read_manifest(folder))
    return _vouched(home, folder, signing_key(home))


def load_bundle(home: Home, name: str, line: str | None = None) -> Bundle:
    """Read and verify a bundle; whoever inspects with it says of which `line` it must be.

    Raises BundleError naming the file when anything is missing, added or altered, when no trusted
    key signed it, when the folder is not named by its manifest, or when the card has another
    schema version or is of another line: its models know other parts. Raises StorageError when a
    file is there but could not be read, which a retry may cure.
    """
    folder = _folder(home, name)
    with _storage(folder):
        manifest = _read_manifest(folder)
        signer = verify_signature(home, folder, manifest)
        _verify(folder, manifest)
        card = _read_card(folder / CARD)
    if line is not None and card.line != line:
        msg = f"bundle {name} is of line {card.line}, not of {line}"
        raise BundleError(msg)
    return Bundle(folder.name, folder, card, signer)


def _folder(home: Home, name: str) -> Path:
    """Where a bundle lies; BundleError of a name that none has, such as a path to elsewhere."""
    if not _NAME.fullmatch(name):
        msg = f"{name!r}: not a bundle's name, which is the 32 hex digits of its folder in bundles/"
        raise BundleError(msg)
    return home.bundle(name)


@contextmanager
def _storage(folder: Path) -> Iterator[None]:
    """Tell a bundle that is not there from a storage that did not answer."""
    try:
        yield
    except BundleError as error:
        # Of keys and signature: what could not be read there is the cause.
        if isinstance(error.__cause__, OSError) and files.may_pass(error.__cause__):
            raise StorageError(str(error)) from error
        raise
    except OSError as error:
        msg = f"{folder}: the bundle cannot be read: {error}"
        raise (StorageError if files.may_pass(error) else BundleError)(msg) from error


def _vouched(home: Home, folder: Path, key: Ed25519PrivateKey) -> Bundle:
    """A bundle that stands already, with a signature that holds here."""
    manifest = _read_manifest(folder)
    try:
        verify_signature(home, folder, manifest)
    except BundleError:
        write_signature(folder, manifest, key)
    return load_bundle(home, folder.name)


def _read_manifest(folder: Path) -> bytes:
    try:
        manifest = (folder / MANIFEST).read_bytes()
    except (FileNotFoundError, NotADirectoryError) as error:
        msg = f"{folder}: not a bundle, it has no {MANIFEST}"
        raise BundleError(msg) from error
    if _name(manifest) != folder.name:
        msg = f"{folder / MANIFEST}: altered; its hash is {_name(manifest)}, not {folder.name}"
        raise BundleError(msg)
    return manifest


def _verify(folder: Path, manifest: bytes) -> None:
    rows = (row.split("  ", 1) for row in manifest.decode().split("\n") if row)
    expected = {name: digest for digest, name in rows}
    present = {path.name for path in folder.iterdir()} - _SEALS
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


def _name(manifest: bytes) -> str:
    return hashlib.sha256(manifest).hexdigest()[:32]
