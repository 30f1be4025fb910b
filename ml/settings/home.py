"""Where things lie below LOUPE_HOME. The only place that spells these paths."""

from dataclasses import dataclass
from pathlib import Path

from ml.settings.env import Env


@dataclass(frozen=True)
class Home:
    """The folder of an installation; methods give paths and create nothing.

    The keys lie in it too, unless the environment names others (`Home.of`).
    """

    root: Path
    named_signing_key: Path | None = None
    named_trusted_keys: Path | None = None

    @classmethod
    def of(cls, env: Env) -> "Home":
        """The home that the environment names, with the keys that it names."""
        return cls(env.home, env.signing_key, env.trusted_keys)

    def object(self, sha256: str) -> Path:
        """An image or mask as it came, by the SHA-256 of its bytes."""
        return self.root / "objects" / sha256[:2] / sha256

    def table(self, line: str, name: str) -> Path:
        """A Delta table: `images`, `labels` or `predictions`."""
        return self.root / "catalog" / line / name

    @property
    def schema(self) -> Path:
        """The version of the schema that the tables have."""
        return self.root / "catalog" / "schema.json"

    def staging(self, line: str, batch: str) -> Path:
        """Measured but not yet accepted images of one ingest batch (Parquet)."""
        return self.root / "staging" / line / f"{batch}.parquet"

    def watermark(self, line: str) -> Path:
        """When the line's source was last listed in full, where Airflow does not keep that."""
        return self.root / "watermarks" / f"{line}.json"

    def dataset(self, line: str, dataset: str) -> Path:
        """A dataset version (Parquet); its description lies beside it as `.json`."""
        return self.root / "datasets" / line / f"{dataset}.parquet"

    def training(self, line: str, run: str) -> Path:
        """Checkpoints, weights and results of one training run."""
        return self.root / "training" / line / run

    def search(self, line: str, name: str) -> Path:
        """The study and the unfinished trials of one search for training settings."""
        return self.root / "searches" / line / name

    def bundle(self, bundle: str) -> Path:
        """A deployable bundle, by its hash."""
        return self.root / "bundles" / bundle

    @property
    def signing_key(self) -> Path:
        """The private key that seals bundles (PEM); only sealing reads it."""
        return self.named_signing_key or self.root / "keys" / "signing.key"

    @property
    def trusted_keys(self) -> Path:
        """The public keys that a bundle may be signed with: a folder of `*.pub`, or one file."""
        return self.named_trusted_keys or self.root / "keys" / "trusted"

    def live(self, line: str) -> Path:
        """The small file that names the champion bundle; the API and the night read it."""
        return self.root / "live" / f"{line}.json"

    def waiting(self, line: str) -> Path:
        """The small file that names the challenger which the gate let through last."""
        return self.root / "waiting" / f"{line}.json"

    def night(self, line: str, day: str) -> Path:
        """The plan of one night: its shards, and the bundle that is fixed for it."""
        return self.root / "nights" / line / f"{day}.json"

    def night_images(self, line: str, day: str) -> Path:
        """The images of a night's plan, beside it."""
        return self.night(line, day).with_suffix(".parquet")

    def speed(self, line: str, day: str) -> Path:
        """How fast each process of a night was, stage by stage; measured, so never compared."""
        return self.root / "speed" / line / day

    def ledgers(self, line: str) -> Path:
        """The folder of a line's ledgers: of its nights, promotions, reviews and more."""
        return self.root / "ledger" / line

    def ledger(self, line: str, day: str) -> Path:
        """The hash-chained ledger of one day."""
        return self.ledgers(line) / f"{day}.jsonl"

    def promotions(self, line: str) -> Path:
        """The hash-chained ledger of promotions and rollbacks."""
        return self.ledger(line, "promotions")

    def latency(self, line: str, challenger: str, champion: str | None) -> Path:
        """How long an image took in both bundles of a gate, on the machine that it ran on."""
        return self.root / "latency" / line / f"{challenger}-{champion or 'alone'}.json"

    def reports(self, line: str) -> Path:
        """HTML reports of one line."""
        return self.root / "reports" / line

    @property
    def results(self) -> Path:
        """The SQLite results store."""
        return self.root / "results.db"

    @property
    def airflow(self) -> Path:
        """Airflow's own home under `loupe demo`: its database and task logs."""
        return self.root / "airflow"

    @property
    def stack(self) -> Path:
        """What the services of `loupe stack` hold."""
        return self.root / "stack"

    @property
    def addresses(self) -> Path:
        """Where the running services answer."""
        return self.root / "stack.json"

    @property
    def lock(self) -> Path:
        """The file whose lock says who works in this home (`occupied.py`)."""
        return self.root / ".lock"

    @property
    def restoring(self) -> Path:
        """Says which backup is being restored; while it is there, no step may run."""
        return self.root / "restoring.json"
