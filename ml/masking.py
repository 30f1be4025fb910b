"""Secrets never reach a log: what a process prints goes through a mask.

Masked are the credentials in addresses (`scheme://user:password@host`), values of parameters,
options and fields such as `token=…`, `--token …` and `"password": "…"`, `Authorization` headers and
bearer tokens, private keys in PEM, and the secrets among the environment variables wherever they
turn up. A value that follows a name without quotes or `=` must look like a secret: prose stays.
"""

import atexit
import json
import os
import re
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TextIO, cast
from urllib.parse import quote, unquote

MASK = "***"

_NAMES = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|API_?KEY|ACCESS_KEY|PRIVATE_KEY|FERNET")
# Shorter ones would blot out ordinary words, and protect nothing.
_SHORTEST = 8
# Up to the last @ of the authority. A password may hold a slash where it cannot be a port's end.
_USER = re.compile(
    r"""(?<=://)(?:[^/\s@:"'\[]*:(?!\d*/)(?:(?!://)[^\s@"',\\])*|[^/\s@"']+)"""
    r"""(?:@[^/\s@"',]+)*(?=@)"""
)
_NAME = r"(?:password|passwd|token|secret|credential|(?:api|access|private)[_-]?key)"
_SECRET = rf"(?:{_NAME}|signature)[\w-]{{0,30}}"
_PARAMETER = re.compile(rf"(?i)({_SECRET}=)[^&\s\"'\\]+")
# In quotes, which may themselves be escaped: JSON, JSON in JSON, the repr of a dict, an argument.
_QUOTED = r"""(?:(?!\2)(?:\\.|[^\\\n]))+"""
_FIELD = re.compile(rf"""(?i)({_SECRET}\\*["']?\s*[:=]\s*b?(\\*["'])){_QUOTED}""")
_ARGUMENT = re.compile(
    rf"""(?i)((?<!-)--[\w-]{{0,30}}?{_SECRET}(?<!file)(?<!path)\\*["'],\s*b?(\\*["']))(?!--){_QUOTED}"""
)
# Neither a plain word nor a number, a path or a placeholder.
_ODD = (
    r"""(?![/<{\[(]|\$\{)(?=[^\s"'\\]*[a-z])(?=[^\s"'\\]*[\d!#$%&*+=@^~])"""
    r"""[^\s"'\\()\[\]{}]{6,}(?=[\s"'\\)\]}]|$)"""
)
_PLAIN = re.compile(rf"""(?i)({_NAME}[ \t]*[:=][ \t]+){_ODD}""")
_OPTION = re.compile(rf"""(?i)((?<!-)--[\w-]{{0,30}}?{_NAME}[ \t]+){_ODD}""")
_HEADER = re.compile(
    r"""(?i)(\bauthorization(?:\\*["'] *, *b?(?=\\*["'])|\\*["']? *[:=] *(?:b(?=\\*["']))?)"""
    r"""\\*["']?)[^\s"'\\][^"'\\\n]*"""
)
_BEARER = re.compile(r"(?i)(\bbearer\s+)[\w.~+/=-]{8,}")
_PRIVATE_KEY = re.compile(
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|$)", re.DOTALL
)
_KEY_BEGINS = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----(?=\s*\Z)")
_KEY_ENDS = re.compile(r"-----END [A-Z ]*PRIVATE KEY-----")
_BASE64 = re.compile(r"[A-Za-z0-9+/=]+")
_BASE64_LINE = 32  # longer than a word that ends a sentence


def secrets_of(environ: Mapping[str, str]) -> list[str]:
    """The secrets among environment variables, the longest first: by name, or in an address.

    Each as it is, line by line, and as it looks in an address, in JSON and in a repr.
    """
    found = {
        value
        for name, value in environ.items()
        # A path to a secret is none.
        if _NAMES.search(name.upper()) and not os.path.exists(value)  # noqa: PTH110 - may be long
    }
    users = (match for value in environ.values() for match in _USER.findall(value))
    found |= {user.partition(":")[2] for user in users}
    spelled = {form for value in found for form in _spellings(value) if len(form) >= _SHORTEST}
    return sorted(spelled, key=lambda one: (-len(one), one))


def _spellings(value: str) -> Iterator[str]:
    lines = (line.strip() for line in value.splitlines())
    # The first and last line of a key in PEM are the same in all of them.
    for line in (value, *(line for line in lines if not line.startswith("-----"))):
        for text in (line, unquote(line)):
            yield from (text, quote(text), quote(text, safe=""))
            yield from (json.dumps(text)[1:-1], repr(text)[1:-1])


def masked(text: str, secrets: Iterable[str] = ()) -> str:
    """`text` without credentials and without the given secrets."""
    text = _without_certain(text, secrets)
    for pattern in (_HEADER, _BEARER, _FIELD, _ARGUMENT, _PARAMETER, _PLAIN, _OPTION):
        text = pattern.sub(rf"\1{MASK}", text)
    return text


def _without_certain(text: str, secrets: Iterable[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, MASK)
    return _USER.sub(MASK, _PRIVATE_KEY.sub(MASK, text))


def masked_result(value: Any, secrets: Iterable[str]) -> Any:
    """A JSON value whose strings hold none of the secrets, no address's credentials and no key.

    What merely looks like a secret stays: a result is read by a program, `token=1.png` is an image.
    """
    if isinstance(value, str):
        return _without_certain(value, secrets)
    if isinstance(value, dict):
        return {masked_result(k, secrets): masked_result(v, secrets) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [masked_result(one, secrets) for one in value]
    return value


class _Masked:
    """A text stream that masks what is written to it, line by line: a secret may come in pieces.

    The pieces of a line are of one thread, and a flush of that thread ends them: what it writes
    after is masked for itself. The rest of a thread that has ended is written with the next flush.
    A private key may come in lines.
    """

    def __init__(self, stream: TextIO, secrets: list[str]) -> None:
        self.stream = stream
        self._secrets = secrets
        # By thread; each takes and puts what is its own, so no lock that a fork could leave shut.
        self._rests: dict[int, str] = {}
        self._in_key: set[int] = set()

    def write(self, text: str) -> int:
        thread = threading.get_ident()
        lines = self._rests.pop(thread, "") + text
        end = max(lines.rfind("\n"), lines.rfind("\r")) + 1
        if lines[end:]:
            self._rests[thread] = lines[end:]
        if end:
            self._write(thread, lines[:end])
        return len(text)

    def flush(self) -> None:
        if self._rests:
            running = {one.ident for one in threading.enumerate()} - {threading.get_ident()}
            self._write_rests(thread for thread in list(self._rests) if thread not in running)
        self.stream.flush()

    def finish(self) -> None:
        """Write the rests of all threads, as nothing more is expected of them."""
        self._write_rests(list(self._rests))
        self.stream.flush()

    def print_clean(self, line: str) -> None:
        """Print a line that holds no secret as it is, after all that was written before."""
        if self._rests:
            self.finish()
            self.stream.write("\n")
        print(line, file=self.stream)

    def forget(self) -> None:
        """In a forked child: the rests are the parent's to write."""
        self._rests.clear()

    def _write_rests(self, threads: Iterable[int]) -> None:
        for thread in threads:
            if rest := self._rests.pop(thread, ""):
                self._write(thread, rest)

    def _write(self, thread: int, text: str) -> None:
        if thread in self._in_key or "PRIVATE KEY-----" in text:
            lines = text.splitlines(keepends=True)
            text = "".join(self._without_key(thread, line) for line in lines)
        self.stream.write(masked(text, self._secrets))

    def _without_key(self, thread: int, line: str) -> str:
        if thread in self._in_key:
            ends = _KEY_ENDS.search(line)
            if ends is None and _is_of_key(line):
                return ""
            self._in_key.discard(thread)
            line = line[ends.end() :].lstrip() if ends else line
        if begins := _KEY_BEGINS.search(line):
            self._in_key.add(thread)
            return line[: begins.start()] + MASK + line[begins.end() :]
        return line

    def writelines(self, lines: Iterable[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def _is_of_key(line: str) -> bool:
    words = line.split()
    if not words or words[0] in ("Proc-Type:", "DEK-Info:"):
        return True
    # A logger may have put something before it.
    whole = len(words) == 1 or len(words[-1]) >= _BASE64_LINE
    return whole and _BASE64.fullmatch(words[-1]) is not None


def mask_output() -> None:
    """Mask all that this process prints from now on: logs, tracebacks, warnings."""
    secrets = secrets_of(os.environ)
    streams = [_Masked(stream, secrets) for stream in (sys.stdout, sys.stderr)]
    sys.stdout, sys.stderr = cast(list[TextIO], streams)
    for stream in streams:
        atexit.register(stream.finish)
        os.register_at_fork(after_in_child=stream.forget)


def print_result(result: Any) -> None:
    """Print a result as one line of JSON: its strings are masked, and the line stays JSON."""
    line = json.dumps(masked_result(result, secrets_of(os.environ)), sort_keys=True)
    if isinstance(sys.stdout, _Masked):
        sys.stdout.print_clean(line)
    else:
        print(line)
