"""Copies of LOUPE_HOME: made while it is in use, verified by hashes, restored into an empty home.

Imports bundle, settings, files, progress. Start reading at `vault.py`, then `backup.py`.
"""

from ml.backup.backup import backup
from ml.backup.restore import restore
from ml.backup.vault import Vault

__all__ = ["Vault", "backup", "restore"]
