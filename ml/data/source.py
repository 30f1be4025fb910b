"""Where new images appear: a folder or an S3 bucket, behind one small interface."""

import logging
import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from ml.errors import SourceChangedError, SourceError, SourceSilentError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Listed:
    """One object of the source. `version` changes when its content does."""

    key: str
    bytes: int
    version: str
    modified: datetime


# Seconds until a bucket that says nothing counts as silent.
_PATIENCE_S = 20


class Source(Protocol):
    """A place to list and read objects from; keys use `/` and are relative to it.

    `parallel` reads at once pay at most. `left_out` are the keys of folders and objects that the
    last listing left out, as they could not be listed.
    """

    parallel: int
    left_out: list[str]

    def list(self, prefixes: Sequence[str] | None = None) -> Iterator[Listed]:
        """Every object, or those below some folders, which need not be there.

        Raises SourceError when the place cannot be listed.
        """

    def read(self, key: str) -> bytes:
        """The bytes of one object; raises SourceError when it cannot be read."""

    def fetch(self, item: Listed) -> bytes:
        """The bytes of an object as it was listed, whole.

        Raises SourceChangedError when it is another by now or gone, SourceSilentError when it did
        not come whole: a body cut short, no answer, too busy. SourceError when it cannot be read.
        """


class FolderSource:
    """A folder and all below it, also behind links; hidden files and folders are left out."""

    parallel = 4

    def __init__(self, root: Path) -> None:
        self.root = root
        self.left_out: list[str] = []
        # Of the last listing: which link led to an outside folder first.
        self._links: dict[Path, Path] = {}

    def list(self, prefixes: Sequence[str] | None = None) -> Iterator[Listed]:
        if not self.root.is_dir():
            msg = f"source folder {self.root} does not exist; create it or correct `source.uri`"
            raise SourceError(msg)
        self.left_out, self._links = [], {}
        folders = [self.root] if prefixes is None else [self.root / one for one in prefixes]
        for path in sorted(path for folder in folders for path in self._below(folder)):
            try:
                found = path.stat()
            except OSError as error:
                self._leave_out(error)
                continue
            if stat.S_ISREG(found.st_mode):
                key = path.relative_to(self.root).as_posix()
                if not self._is_text(key):
                    continue
                modified = datetime.fromtimestamp(found.st_mtime, UTC)
                yield Listed(key, found.st_size, _version(found), modified)

    def _below(self, folder: Path) -> Iterator[Path]:
        for top, inside, names in os.walk(folder, onerror=self._leave_out, followlinks=True):
            inside[:] = [
                name
                for name in inside
                if not name.startswith(".") and not self._is_listed_anyway(Path(top, name))
            ]
            yield from (Path(top, name) for name in names if not name.startswith("."))

    def _is_listed_anyway(self, folder: Path) -> bool:
        """Whether a folder is a link to one that is listed by its own name, or to one around it."""
        if not folder.is_symlink():
            return False
        target = folder.resolve()
        around = [one.resolve() for one in folder.parents if one.is_relative_to(self.root)]
        if any(one.is_relative_to(target) or _is_shown_below(target, one) for one in around):
            return True
        # Only the layout knows which of two links it reads, so neither is left out.
        if (other := self._links.setdefault(target, folder)) != folder:
            twice = "its images come twice, and nights hold the copies; remove one of the links"
            log.warning("%s and %s lead to one folder, %s: %s", other, folder, target, twice)
        return False

    def _is_text(self, key: str) -> bool:
        """Whether a name is one that tables can hold; one that is not stops no other."""
        shown = key.encode(errors="surrogateescape").decode(errors="backslashreplace")
        if shown != key:
            self.left_out.append(shown)
            log.warning("%s: the name is not UTF-8, rename it; left out of this listing", shown)
        return shown == key

    def _leave_out(self, error: OSError) -> None:
        """One folder or file that cannot be listed stops no other."""
        if error.filename == str(self.root):
            msg = f"source folder {self.root} cannot be listed: {error}"
            raise SourceError(msg) from error
        # What is gone since need not be said, nor a day's folder that is not there yet.
        if not isinstance(error, FileNotFoundError):
            self.left_out.append(Path(error.filename).relative_to(self.root).as_posix())
            log.warning("%s; left out of this listing", error)

    def read(self, key: str) -> bytes:
        try:
            return (self.root / key).read_bytes()
        except OSError as error:
            msg = f"{self.root / key}: cannot be read: {error}"
            raise SourceError(msg) from error

    def fetch(self, item: Listed) -> bytes:
        path = self.root / item.key
        try:
            with path.open("rb") as file:
                content = file.read()
                found = _version(os.fstat(file.fileno()))
        except FileNotFoundError as error:
            msg = f"{path}: gone since it was listed"
            raise SourceChangedError(msg) from error
        except OSError as error:
            msg = f"{path}: cannot be read: {error}"
            raise SourceError(msg) from error
        if found != item.version or len(content) != item.bytes:
            msg = f"{path}: changed since it was listed"
            raise SourceChangedError(msg)
        return content


def _is_shown_below(path: Path, folder: Path) -> bool:
    if not path.is_relative_to(folder):
        return False
    return not any(part.startswith(".") for part in path.relative_to(folder).parts)


class BucketSource:
    """`s3://bucket/prefix`; the endpoint comes from AWS_ENDPOINT_URL where it is set."""

    parallel = 16

    def __init__(self, uri: str) -> None:
        import boto3  # slow to import, and a folder source does not need it
        from botocore.config import Config

        self.uri = uri
        self.left_out: list[str] = []  # a bucket is listed whole or not at all
        self.bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        self.prefix = f"{prefix.rstrip('/')}/" if prefix else ""
        self._client: Any = boto3.client("s3")
        # Who fetches many objects (`reading.py`) must see each refusal, to go on with fewer.
        once = Config(
            retries={"total_max_attempts": 1},
            read_timeout=_PATIENCE_S,
            connect_timeout=_PATIENCE_S,
            max_pool_connections=self.parallel,
        )
        self._once: Any = boto3.client("s3", config=once)

    def list(self, prefixes: Sequence[str] | None = None) -> Iterator[Listed]:
        from botocore.exceptions import BotoCoreError, ClientError

        pages = self._client.get_paginator("list_objects_v2")
        try:
            for one in [""] if prefixes is None else prefixes:
                for page in pages.paginate(Bucket=self.bucket, Prefix=self.prefix + one):
                    yield from self._listed(page)
        except (BotoCoreError, ClientError) as error:
            msg = f"{self.uri}: cannot be listed: {error}; check the bucket and the credentials"
            raise _silent_or_wrong(error)(msg) from error

    def _listed(self, page: dict[str, Any]) -> Iterator[Listed]:
        for item in page.get("Contents", []):
            key = item["Key"].removeprefix(self.prefix)
            if key and not key.endswith("/"):
                yield Listed(key, item["Size"], item["ETag"].strip('"'), item["LastModified"])

    def read(self, key: str) -> bytes:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            answer = self._client.get_object(Bucket=self.bucket, Key=self.prefix + key)
            content: bytes = answer["Body"].read()
        except (BotoCoreError, ClientError) as error:
            msg = f"{self.uri}: object {key} cannot be read: {error}"
            raise _silent_or_wrong(error)(msg) from error
        return content

    def fetch(self, item: Listed) -> bytes:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            answer = self._once.get_object(Bucket=self.bucket, Key=self.prefix + item.key)
            content: bytes = answer["Body"].read()
        except self._once.exceptions.NoSuchKey as error:
            msg = f"{self.uri}: object {item.key} is gone since it was listed"
            raise SourceChangedError(msg) from error
        except (BotoCoreError, ClientError) as error:
            msg = f"{self.uri}: object {item.key} cannot be read: {error}"
            raise _silent_or_wrong(error)(msg) from error
        if answer["ETag"].strip('"') != item.version:
            msg = f"{self.uri}: object {item.key} changed since it was listed"
            raise SourceChangedError(msg)
        if len(content) != item.bytes:
            msg = f"{self.uri}: object {item.key} came with {len(content)} of {item.bytes} bytes"
            raise SourceSilentError(msg)
        return content


def _version(found: os.stat_result) -> str:
    return f"{found.st_size}-{found.st_mtime_ns}"


def _silent_or_wrong(error: Exception) -> type[SourceError]:
    """Whether the bucket may answer a retry, or never gives what was asked for."""
    from botocore.exceptions import (
        ClientError,
        ConnectionError,
        HTTPClientError,
        IncompleteReadError,
    )

    if isinstance(error, ClientError):
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        return SourceSilentError if status == 429 or status >= 500 else SourceError
    silent = isinstance(error, (HTTPClientError, ConnectionError, IncompleteReadError))
    return SourceSilentError if silent else SourceError


def open_source(uri: str) -> Source:
    """The source behind a folder path or an `s3://` address.

    Raises SourceError when the address has credentials in it: they would end up in logs.
    """
    if "@" in uri.partition("://")[2].partition("/")[0]:
        msg = f"{uri}: credentials do not belong in an address; use AWS_ACCESS_KEY_ID and the like"
        raise SourceError(msg)
    if uri.startswith("s3://"):
        return BucketSource(uri)
    return FolderSource(Path(uri))
