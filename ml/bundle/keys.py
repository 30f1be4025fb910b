"""The keys of bundles: Ed25519 (RFC 8032) in PEM files, as `openssl genpkey` makes them too.

Sealing needs the signing key; reading a bundle needs the trusted public keys and nothing else.
Several keys may be trusted at once, so that a new signing key leaves the older bundles readable.
"""

import hashlib
import re
from pathlib import Path

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from ml import files
from ml.errors import BundleError, SettingsError
from ml.settings import Home

_PRIVATE = 0o600
_BLOCK = re.compile(rb"-----BEGIN .+?-----END [^\n]+", re.DOTALL)


def key_id(key: Ed25519PublicKey) -> str:
    """Short name of a public key: the start of the SHA-256 of its 32 bytes."""
    return hashlib.sha256(key.public_bytes_raw()).hexdigest()[:16]


def signing_key(home: Home) -> Ed25519PrivateKey:
    """The private key that seals bundles, made on first use; its public half is trusted here.

    Safe with many processes: all get the same key. Keys named by the environment are taken as they
    are. Raises SettingsError when the key cannot be read or its public half is not trusted.
    """
    if home.named_signing_key is None and not home.signing_key.exists():
        if home.named_trusted_keys is not None:
            msg = (
                f"LOUPE_TRUSTED_KEYS names {home.named_trusted_keys}, but LOUPE_SIGNING_KEY names "
                "no key that could sign for it; set it where bundles are sealed"
            )
            raise SettingsError(msg)
        with files.locked(home.signing_key.parent):
            if not home.signing_key.exists():
                _make(home)
    key = read_private_key(home.signing_key)
    _trust(home, key.public_key())
    return key


def rotate(home: Home) -> tuple[str, str]:
    """Replace the signing key; returns the ids of the old key, which stays trusted, and the new.

    Raises SettingsError when the environment names the signing key: its owner replaces it.
    """
    if home.named_signing_key is not None:
        msg = (
            f"LOUPE_SIGNING_KEY names {home.named_signing_key}, which is not this installation's "
            "to replace; name another key (`openssl genpkey -algorithm ed25519`)"
        )
        raise SettingsError(msg)
    old = signing_key(home)
    with files.locked(home.signing_key.parent):
        _make(home)
    return key_id(old.public_key()), key_id(signing_key(home).public_key())


def encrypted_signing_key(home: Home, passphrase: bytes) -> bytes:
    """The signing key as encrypted PEM (PKCS 8), for a backup."""
    key = read_private_key(home.signing_key)
    how = BestAvailableEncryption(passphrase)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, how)


def decrypted_signing_key(path: Path, passphrase: bytes) -> bytes:
    """The PEM of an encrypted signing key in the clear; SettingsError when it does not open."""
    key = read_private_key(path, passphrase)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def trusted_keys(home: Home) -> dict[str, Ed25519PublicKey]:
    """The public keys that a bundle may be signed with, by id; none where there is no folder.

    Raises BundleError naming the file that is not an Ed25519 public key.
    """
    keys = (key for path in trusted_files(home) for key in _read_public(path))
    return {key_id(key): key for key in keys}


def trusted_files(home: Home) -> list[Path]:
    """The files of the trusted public keys."""
    place = home.trusted_keys
    return [place] if place.is_file() else sorted(place.glob("*.pub"))


def _make(home: Home) -> None:
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    files.write_bytes(home.signing_key, pem, _PRIVATE)


def _trust(home: Home, key: Ed25519PublicKey) -> None:
    if key_id(key) in trusted_keys(home):
        return
    if home.named_trusted_keys is not None:
        msg = (
            f"the public half of {home.signing_key} (key {key_id(key)}) is not in "
            f"{home.trusted_keys}, which LOUPE_TRUSTED_KEYS names; add it "
            "(`openssl pkey -pubout`), else no bundle of this installation would load"
        )
        raise SettingsError(msg)
    pem = key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    files.write_bytes(home.trusted_keys / f"{key_id(key)}.pub", pem)


def read_private_key(path: Path, passphrase: bytes | None = None) -> Ed25519PrivateKey:
    """A private key in PEM; SettingsError when it cannot be read or is none of Ed25519."""
    try:
        key = load_pem_private_key(path.read_bytes(), password=passphrase)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        msg = f"{path}: the signing key cannot be read: {error}"
        raise SettingsError(msg) from error
    if not isinstance(key, Ed25519PrivateKey):
        msg = f"{path}: not an Ed25519 private key; `openssl genpkey -algorithm ed25519` makes one"
        raise SettingsError(msg)
    return key


def _read_public(path: Path) -> list[Ed25519PublicKey]:
    """The keys of a file, one PEM block after another."""
    try:
        # A file without any block fails like one with a broken block.
        blocks = _BLOCK.findall(path.read_bytes()) or [b""]
        keys = [load_pem_public_key(block) for block in blocks]
    except (OSError, ValueError, UnsupportedAlgorithm) as error:
        msg = f"{path}: the trusted key cannot be read ({error}); restore or remove it"
        raise BundleError(msg) from error
    found = [key for key in keys if isinstance(key, Ed25519PublicKey)]
    if len(found) < len(keys):
        msg = f"{path}: not an Ed25519 public key; replace or remove it"
        raise BundleError(msg)
    return found
