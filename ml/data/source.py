"""Where new images appear: a folder or an S3 bucket, behind one small interface."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from ml.errors import SourceError, SourceSilentError


@dataclass(frozen=True)
class Listed:
    """One object of the source. `version` changes when its content does."""

    key: str
    bytes: int
    version: str
    modified: datetime


class Source(Protocol):
    """A place to list and read objects from; keys use `/` and are relative to it."""

    def list(self) -> Iterator[Listed]:
        """Every object; raises SourceError when the place cannot be listed."""

    def read(self, key: str) -> bytes:
        """The bytes of one object; raises SourceError when it cannot be read."""


class FolderSource:
    """A folder and all below it; hidden files and folders are left out."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def list(self) -> Iterator[Listed]:
        if not self.root.is_dir():
            msg = f"source folder {self.root} does not exist; create it or correct `source.uri`"
            raise SourceError(msg)
        for path in sorted(self.root.rglob("*")):
            key = path.relative_to(self.root).as_posix()
            if path.is_file() and not any(part.startswith(".") for part in key.split("/")):
                stat = path.stat()
                modified = datetime.fromtimestamp(stat.st_mtime, UTC)
                yield Listed(key, stat.st_size, f"{stat.st_size}-{stat.st_mtime_ns}", modified)

    def read(self, key: str) -> bytes:
        try:
            return (self.root / key).read_bytes()
        except OSError as error:
            msg = f"{self.root / key}: cannot be read: {error}"
            raise SourceError(msg) from error


class BucketSource:
    """`s3://bucket/prefix`; the endpoint comes from AWS_ENDPOINT_URL where it is set."""

    def __init__(self, uri: str) -> None:
        import boto3  # slow to import, and a folder source does not need it

        self.uri = uri
        self.bucket, _, prefix = uri.removeprefix("s3://").partition("/")
        self.prefix = f"{prefix.rstrip('/')}/" if prefix else ""
        self._client: Any = boto3.client("s3")

    def list(self) -> Iterator[Listed]:
        from botocore.exceptions import BotoCoreError, ClientError

        pages = self._client.get_paginator("list_objects_v2")
        try:
            for page in pages.paginate(Bucket=self.bucket, Prefix=self.prefix):
                for item in page.get("Contents", []):
                    key = item["Key"].removeprefix(self.prefix)
                    if key and not key.endswith("/"):
                        version = item["ETag"].strip('"')
                        yield Listed(key, item["Size"], version, item["LastModified"])
        except (BotoCoreError, ClientError) as error:
            msg = f"{self.uri}: cannot be listed: {error}; check the bucket and the credentials"
            raise _silent_or_wrong(error)(msg) from error

    def read(self, key: str) -> bytes:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            answer = self._client.get_object(Bucket=self.bucket, Key=self.prefix + key)
            content: bytes = answer["Body"].read()
        except (BotoCoreError, ClientError) as error:
            msg = f"{self.uri}: object {key} cannot be read: {error}"
            raise _silent_or_wrong(error)(msg) from error
        return content


def _silent_or_wrong(error: Exception) -> type[SourceError]:
    """Whether the bucket may answer a retry, or never gives what was asked for."""
    from botocore.exceptions import ClientError, ConnectionError, HTTPClientError

    if isinstance(error, ClientError):
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        return SourceSilentError if status == 429 or status >= 500 else SourceError
    silent = isinstance(error, (HTTPClientError, ConnectionError))
    return SourceSilentError if silent else SourceError


def open_source(uri: str) -> Source:
    """The source behind a folder path or an `s3://` address."""
    if uri.startswith("s3://"):
        return BucketSource(uri)
    return FolderSource(Path(uri))
