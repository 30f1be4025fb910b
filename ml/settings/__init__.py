"""Everything that can be configured: one TOML per line, a few environment variables, one root.

Imports pydantic and the standard library only.
Start reading at `line.py` (a line file; `source.py` and `models.py` are its larger sections), then
`home.py` (where things lie).
"""

from ml.settings.env import Env
from ml.settings.home import Home
from ml.settings.line import LineConfig
from ml.settings.load import load_line, load_lines

__all__ = ["Env", "Home", "LineConfig", "load_line", "load_lines"]
