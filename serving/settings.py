"""What the web app reads from the environment, beyond `ml.settings.Env`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ml.errors import SettingsError
from ml.settings import Env

_PROJECT = Path(__file__).parents[1]

# The dashboard is a view inside the Airflow UI, which the demo serves from another loopback port.
_FRAME_ANCESTORS = "'self' http://127.0.0.1:* http://localhost:*"
_UPLOAD_MEGABYTES = "20"


@dataclass(frozen=True)
class ServingSettings:
    """Read once by `create_app`.

    | variable | default | meaning |
    | --- | --- | --- |
    | LOUPE_DASHBOARD | dashboard/dist | folder of the built dashboard |
    | LOUPE_FRAME_ANCESTORS | this host and loopback | who may show pages in a frame (CSP) |
    | LOUPE_UPLOAD_MB | 20 | largest accepted upload |
    | LOUPE_TOKEN | none | when set, reviews need `Authorization: Bearer <token>` |
    """

    env: Env
    dashboard: Path
    frame_ancestors: str
    upload_bytes: int
    token: str

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> "ServingSettings":
        """Read the variables; raises SettingsError that names the variable and its value."""
        ancestors = environ.get("LOUPE_FRAME_ANCESTORS", _FRAME_ANCESTORS)
        if any(character in ancestors for character in ";,\r\n"):
            msg = f"LOUPE_FRAME_ANCESTORS is {ancestors!r}; expected origins separated by spaces"
            raise SettingsError(msg)
        return cls(
            env=Env.read(environ),
            dashboard=Path(
                environ.get("LOUPE_DASHBOARD", _PROJECT / "dashboard" / "dist")
            ).absolute(),
            frame_ancestors=ancestors,
            upload_bytes=_megabytes(environ.get("LOUPE_UPLOAD_MB", _UPLOAD_MEGABYTES)),
            token=environ.get("LOUPE_TOKEN", ""),
        )


def _megabytes(text: str) -> int:
    if not text.isdigit() or not int(text):
        msg = f"LOUPE_UPLOAD_MB is {text!r}; expected a whole number of megabytes above 0"
        raise SettingsError(msg)
    return int(text) * 1_000_000
