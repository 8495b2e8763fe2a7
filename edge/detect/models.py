"""A model of either sort, loaded for whoever serves it without caring which."""

from __future__ import annotations

from collections.abc import Sequence

from edge.detect.classifier import OnnxClassifier
from edge.detect.manifest import ModelManifest
from edge.detect.runtimes import CPU
from edge.detect.session import OnnxDetector


def open_model(
    manifest: ModelManifest, *, threads: int = 2, providers: Sequence[str] = (CPU,)
) -> OnnxDetector | OnnxClassifier:
    """As its manifest says. Raises ModelError."""
    kind = OnnxDetector if manifest.finds_boxes else OnnxClassifier
    return kind(manifest, threads=threads, providers=providers)
