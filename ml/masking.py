"""Secrets never reach a log: what a process prints goes through a mask.

Masked are the credentials in addresses (`scheme://user:password@host`), values of parameters such
as `token=…`, private keys in PEM, and the secrets among the environment variables wherever they
turn up.
"""

import os
import re
import sys
from collections.abc import Iterable, Mapping
from typing import Any, TextIO, cast

MASK = "***"

_NAMES = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|API_?KEY|ACCESS_KEY|PRIVATE_KEY|FERNET")
# Shorter ones would blot out ordinary words, and protect nothing.
_SHORTEST = 8
_USER = re.compile(r"(?<=://)[^/\s@\"']+(?=@)")
_PARAMETER = re.compile(
    r"(?i)\b((?:password|passwd|token|secret|signature|credential|api[_-]?key)=)[^&\s\"'\\]+"
)
_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|$)", re.DOTALL
)


def secrets_of(environ: Mapping[str, str]) -> list[str]:
    """The secrets among environment variables, the longest first: by name, or in an address."""
    found = {
        value
        for name, value in environ.items()
        # A path to a secret is none.
        if _NAMES.search(name.upper()) and not os.path.exists(value)  # noqa: PTH110 - may be long
    }
    users = (match for value in environ.values() for match in _USER.findall(value))
    found |= {user.partition(":")[2] for user in users}
    return sorted((one for one in found if len(one) >= _SHORTEST), key=lambda one: (-len(one), one))


def masked(text: str, secrets: Iterable[str] = ()) -> str:
    """`text` without credentials and without the given secrets."""
    for secret in secrets:
        text = text.replace(secret, MASK)
    text = _PRIVATE_KEY.sub(MASK, text)
    return _PARAMETER.sub(rf"\1{MASK}", _USER.sub(MASK, text))


class _Masked:
    """A text stream that masks what is written to it."""

    def __init__(self, stream: TextIO, secrets: list[str]) -> None:
        self._stream = stream
        self._secrets = secrets

    def write(self, text: str) -> int:
        self._stream.write(masked(text, self._secrets))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def mask_output() -> None:
    """Mask all that this process prints from now on: results, logs, tracebacks, warnings."""
    secrets = secrets_of(os.environ)
    sys.stdout = cast(TextIO, _Masked(sys.stdout, secrets))
    sys.stderr = cast(TextIO, _Masked(sys.stderr, secrets))
