"""Secrets never reach a log: what a process prints goes through a mask.

Masked are the credentials in addresses (`scheme://user:password@host`), values of parameters and
fields such as `token=…` and `"password": "…"`, `Authorization` headers and bearer tokens, private
keys in PEM, and the secrets among the environment variables wherever they turn up.
"""

import os
import re
import sys
import threading
from collections.abc import Iterable, Mapping
from typing import Any, TextIO, cast

MASK = "***"

_NAMES = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|API_?KEY|ACCESS_KEY|PRIVATE_KEY|FERNET")
# Shorter ones would blot out ordinary words, and protect nothing.
_SHORTEST = 8
_USER = re.compile(r"(?<=://)[^/\s@\"']+(?=@)")
_SECRET = r"(?:password|passwd|token|secret|signature|credential|(?:api|access)[_-]?key)[\w-]{0,30}"
_PARAMETER = re.compile(rf"(?i)({_SECRET}=)[^&\s\"'\\]+")
# In quotes, which may themselves be escaped: JSON, JSON in JSON, the repr of a dict, an argument.
_FIELD = re.compile(rf"""(?i)({_SECRET}\\*["']?\s*[:=]\s*(\\*["']))(?:(?!\2)(?:\\.|[^\\\n]))+""")
_HEADER = re.compile(r"""(?i)(\bauthorization\\*["']? *[:=] *\\*["']?)[^\s"'\\][^"'\\\n]*""")
_BEARER = re.compile(r"(?i)(\bbearer\s+)[\w.~+/=-]{8,}")
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
    text = _USER.sub(MASK, _PRIVATE_KEY.sub(MASK, text))
    for pattern in (_HEADER, _BEARER, _FIELD, _PARAMETER):
        text = pattern.sub(rf"\1{MASK}", text)
    return text


class _Rest(threading.local):
    """What a thread wrote of a line that has no end yet."""

    text = ""


class _Masked:
    """A text stream that masks what is written to it, line by line: a secret may come in pieces."""

    def __init__(self, stream: TextIO, secrets: list[str]) -> None:
        self._stream = stream
        self._secrets = secrets
        self._rest = _Rest()

    def write(self, text: str) -> int:
        lines = self._rest.text + text
        end = max(lines.rfind("\n"), lines.rfind("\r")) + 1
        self._rest.text = lines[end:]
        if end:
            self._stream.write(masked(lines[:end], self._secrets))
        return len(text)

    def flush(self) -> None:
        rest, self._rest.text = self._rest.text, ""
        if rest:
            self._stream.write(masked(rest, self._secrets))
        self._stream.flush()

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
