"""Every error that Loupe raises on purpose.

LoupeError
├── SettingsError        a line file or an environment variable is wrong
├── DataError            images, labels or tables are not what a step needs
│   ├── SourceError      the source folder or bucket cannot be listed or read
│   │   ├── EmptySourceError  there is not one object in it
│   │   ├── SourceSilentError *  the source did not answer, or was too busy to
│   │   └── SourceChangedError *  an object is not as it was listed
│   ├── ImageError       one image cannot be used; `reason` is a quarantine word
│   ├── CountError       listed, accepted, quarantined and duplicate do not add up
│   └── LeakError        a group or a (near-)duplicate crosses the split
├── TrainingError        a model cannot be fitted on this data
├── BundleError          a bundle is missing, incomplete, altered or not signed by a trusted key
├── StorageError *       the storage of LOUPE_HOME did not give a file, or take it
├── BackupError          a backup cannot be written, or is not whole, or would overwrite a home
├── LedgerError          a ledger was altered, or lost a line
├── ResultsError *       the results store refused or lost a document
│   └── ResultsUnusableError  the store is damaged, or may not be used at all
└── StackError *         a service, such as MLflow or Airflow, did not start or answer

* may pass by itself: `temporary`. The CLI ends with another status, and Airflow tries again.

A message says what was wrong, where (file, key, value) and what to do.
"""


class LoupeError(Exception):
    """Base of all; the CLI prints it as one clear message and exits with status 2, or 75.

    75 (EX_TEMPFAIL of sysexits.h) says that it is `temporary`: a retry may cure it.
    """

    temporary = False


class SettingsError(LoupeError):
    """A line file or an environment variable is wrong."""


class DataError(LoupeError):
    """Images, labels or tables are not what a step needs."""


class SourceError(DataError):
    """The source folder or bucket cannot be listed or read."""


class EmptySourceError(SourceError):
    """The source was listed, and there is not one object in it."""


class SourceSilentError(SourceError):
    """The source did not answer, was too busy to, or did not list what is needed."""

    temporary = True


class SourceChangedError(SourceError):
    """An object is not as it was listed: it changed, or was removed. A new listing cures it."""

    temporary = True


class ImageError(DataError):
    """One image cannot be used.

    `reason` is the quarantine word that is stored beside the image, such as `truncated`.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class CountError(DataError):
    """The counts of a step do not add up; nothing may be published."""


class LeakError(DataError):
    """A group, a byte duplicate or a near duplicate crosses the split."""


class TrainingError(LoupeError):
    """A model cannot be fitted on this data."""


class BundleError(LoupeError):
    """A bundle is missing, incomplete, altered or not signed by a trusted key.

    It must not be used for a verdict.
    """


class StorageError(LoupeError):
    """The storage of LOUPE_HOME did not give a file, or did not take one, as when it is full,
    or a table took no commit as other writers came first again and again.

    It says nothing about the file: no BundleError, else a moment's fault would hold a whole night.
    """

    temporary = True


class BackupError(LoupeError):
    """A backup cannot be written, is not whole, or would overwrite a home that is in use."""


class LedgerError(LoupeError):
    """A ledger was altered, or lost a line, since it was written."""


class ResultsError(LoupeError):
    """The results store refused or lost a document."""

    temporary = True


class ResultsUnusableError(ResultsError):
    """The results store is damaged, or nobody may use it as it is set up: no retry cures that."""

    temporary = False


class StackError(LoupeError):
    """A service, such as MLflow or Airflow, did not start or did not answer."""

    temporary = True
