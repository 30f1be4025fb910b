"""A vault with one snapshot of the `home` of the test's own file."""

from pathlib import Path

import pytest

from ml.backup import Vault, backup
from ml.settings import Home


@pytest.fixture
def vault(home: Home, tmp_path: Path) -> Vault:
    vault = Vault(tmp_path / "vault")
    backup(home, vault)
    return vault
