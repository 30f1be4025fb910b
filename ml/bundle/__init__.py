"""The bundle: one folder of ONNX models, a card, a drift reference and checksums.

Imports pydantic and the standard library only, so that the API can read bundles.
Start reading at `card.py`, then `load.py`.
"""

from ml.bundle.card import Card
from ml.bundle.load import Bundle, load_bundle, seal_bundle

__all__ = ["Bundle", "Card", "load_bundle", "seal_bundle"]
