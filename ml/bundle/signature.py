"""`SIGNATURE`: who vouches for a bundle. One line over the bytes of its manifest.

`ed25519 <key id> <signature in hex>`, and nothing else: any other byte is refused.
"""

import re
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ml import files
from ml.bundle.keys import key_id, trusted_keys
from ml.errors import BundleError
from ml.settings import Home

SIGNATURE = "SIGNATURE"

_LINE = re.compile(rb"ed25519 ([0-9a-f]{16}) ([0-9a-f]{128})\n")
_SIGN = "if you know where it came from, `loupe bundle sign --bundle {name}`; else make it again"


def write_signature(folder: Path, manifest: bytes, key: Ed25519PrivateKey) -> None:
    """Sign a manifest into its bundle's folder. Equal manifests give equal bytes."""
    line = f"ed25519 {key_id(key.public_key())} {key.sign(manifest).hex()}\n"
    # Beside the bundle: half a file left in it by a crash would be a file too many.
    whole = folder.with_name(f".{folder.name}-{SIGNATURE}")
    files.write_bytes(whole, line.encode())
    whole.replace(folder / SIGNATURE)


def verify_signature(home: Home, folder: Path, manifest: bytes) -> str:
    """Id of the trusted key that signed a manifest.

    Raises BundleError naming the file and what to do when the signature is missing, damaged, by a
    key that is not trusted here, or of another manifest.
    """
    path = folder / SIGNATURE
    advice = _SIGN.format(name=folder.name)
    try:
        line = path.read_bytes()
    except FileNotFoundError as error:
        msg = f"{path}: the bundle is not signed (an earlier Loupe sealed it?); {advice}"
        raise BundleError(msg) from error
    except OSError as error:
        msg = f"{path}: cannot be read: {error}"
        raise BundleError(msg) from error
    found = _LINE.fullmatch(line)
    if found is None:
        msg = f"{path}: altered, it is not a signature; {advice}"
        raise BundleError(msg)
    signer = found[1].decode()
    trusted = trusted_keys(home)
    if signer not in trusted:
        known = ", ".join(trusted) or "no key"
        msg = (
            f"{path}: signed by key {signer}, which is not trusted here "
            f"({home.trusted_keys} has {known}); add that key, or, {advice}"
        )
        raise BundleError(msg)
    try:
        trusted[signer].verify(bytes.fromhex(found[2].decode()), manifest)
    except InvalidSignature as error:
        msg = f"{path}: altered, it is not key {signer}'s signature of this manifest; {advice}"
        raise BundleError(msg) from error
    return signer
