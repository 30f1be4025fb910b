"""The networks: backbones, classifier, segmenter, anomaly models. Each takes RGB 0-255.

Imports torch, timm and segmentation_models_pytorch; of Loupe only progress, settings and errors.
Start reading at `backbones.py`.
"""
