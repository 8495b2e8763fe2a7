"""Another runtime than ONNX Runtime: found by its name, refused in words. What it must do stands in the contract."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edge.detect.manifest import load_manifest
from edge.detect.session import OnnxDetector
from edge.errors import ModelError
from tests.runtime_example import example_npu, write_npu_model
from tests.test_config import changed, fault, load


def test_the_example_finds_what_its_device_finds_in_pixels_of_the_picture(tmp_path: Path) -> None:
    folder = write_npu_model(tmp_path / "compiled", width=96, height=64)
    with example_npu() as provider:
        detector = OnnxDetector(load_manifest(folder), providers=[provider])
        dark, bright = (np.full((128, 192, 3), grey, np.uint8) for grey in (60, 250))
        found = detector.detect([dark, bright, dark])
    assert (detector.provider, detector.batch_max, detector.input.fixed_px) == (provider, 1, (96, 64))
    assert [answer.xyxy.tolist() for answer in found] == [[[0, 0, 96, 64]]] * 3
    assert [round(float(answer.score[0]), 2) for answer in found] == [0.23, 0.98, 0.23]


def test_a_file_that_the_device_cannot_load_is_told(tmp_path: Path) -> None:
    folder = write_npu_model(tmp_path / "compiled", width=96, height=64)
    manifest = load_manifest(folder)
    with example_npu() as provider:
        (folder / "model.onnx").write_bytes(b"other")
        with pytest.raises(ModelError, match="not the one that was checked"):
            OnnxDetector(manifest, providers=[provider])


def test_a_name_that_two_packages_bring_is_refused(tmp_path: Path) -> None:
    manifest = load_manifest(write_npu_model(tmp_path / "compiled", width=96, height=64))
    with example_npu(times=2) as provider, pytest.raises(ModelError, match="is brought by 2 packages"):
        OnnxDetector(manifest, providers=[provider])


def test_a_configuration_may_name_what_is_installed_and_nothing_else(tmp_path: Path) -> None:
    text = changed("gateway: {id: gw-01}\n", "gateway: {id: gw-01}\ndetector: {providers: [example-npu]}\n")
    words = fault(tmp_path, text)
    assert words.startswith("site.yaml:4: detector: providers example-npu is not known; known are cpu, openvino")
    with example_npu() as provider:
        assert load(tmp_path, text).config.detector.providers == (provider,)
