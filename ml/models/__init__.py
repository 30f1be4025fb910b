"""The networks: backbones, classifier, segmenter, PatchCore. Each takes RGB 0-255 and exports as is.

Imports torch, timm and segmentation_models_pytorch; nothing of Loupe but settings and errors.
Start reading at `backbones.py`.
"""
