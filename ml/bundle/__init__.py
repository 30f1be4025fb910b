"""The bundle: one folder of ONNX models, a card, a drift reference, checksums and a signature.

Imports pydantic, cryptography, settings and the standard library only, so that the API can read
bundles. Start reading at `card.py`, then `load.py`.
"""

from ml.bundle.card import Card
from ml.bundle.live import live_bundle
from ml.bundle.load import Bundle, load_bundle, seal_bundle, sign_bundle

__all__ = ["Bundle", "Card", "live_bundle", "load_bundle", "seal_bundle", "sign_bundle"]
