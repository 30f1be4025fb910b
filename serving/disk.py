"""Files that an address may reach."""

from pathlib import Path

from werkzeug.security import safe_join


def file_below(root: Path, path: str) -> Path | None:
    """The file that `path` names below `root`; None when there is none, or when the path or a
    symbolic link leads out of `root`.
    """
    joined = safe_join(str(root.resolve()), path)
    if joined is None or "\0" in joined:
        return None
    found = Path(joined).resolve()
    try:
        inside = found.is_relative_to(root.resolve()) and found.is_file()
    except OSError:  # a name too long for the file system, a folder we may not enter
        return None
    return found if inside else None
