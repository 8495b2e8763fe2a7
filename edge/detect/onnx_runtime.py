"""ONNX Runtime: the runtime that comes with edge, with the execution providers that it may have.

The tests run on the CPU; of the other providers they show that they are refused where they are absent. OpenVINO was
tried by hand (docs/models.md says how, and what it costs); CUDA and TensorRT were not.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np

from edge.core.types import Float32, UInt8
from edge.detect.manifest import ModelManifest, read_model
from edge.detect.runtimes import CPU, CUDA, OPENVINO, TENSORRT
from edge.errors import ModelError

# The official build reports to its maker from the moment of the import, and leaves a device id in HOME. A camera
# gateway reports to nobody; the runtime looks for this variable once, when it is loaded.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import onnxruntime  # type: ignore[import-untyped]  # ships no types
from onnxruntime.capi import (  # type: ignore[import-untyped]
    onnxruntime_pybind11_state as _onnxruntime_state,
)

# Name in a configuration -> ONNX Runtime's name, and the package that brings it. All of these packages put their files
# under the one import name `onnxruntime`: only one of them may be installed.
PROVIDERS = {
    CPU: ("CPUExecutionProvider", "onnxruntime"),
    OPENVINO: ("OpenVINOExecutionProvider", "onnxruntime-openvino"),
    CUDA: ("CUDAExecutionProvider", "onnxruntime-gpu"),
    TENSORRT: ("TensorrtExecutionProvider", "onnxruntime-gpu"),
}

# ONNX Runtime's errors share no base class of their own.
_RUNTIME_ERRORS: tuple[type[Exception], ...] = tuple(
    member for member in vars(_onnxruntime_state).values() if isinstance(member, type) and issubclass(member, Exception)
)


class OnnxRuntime:
    """Satisfies `edge.detect.runtimes.Runtime`.

    `threads` 0 leaves half of the cores to decoding. `providers` are names of PROVIDERS, best first, and each must
    load. Where `cpu` is among them, it takes what the others cannot run; without it a model that they cannot run whole
    is refused.
    """

    batch: int
    fixed_px: tuple[int, int] | None

    def __init__(self, manifest: ModelManifest, *, threads: int, providers: Sequence[str]) -> None:
        self._path = manifest.path
        self._session = _open(manifest, threads=threads, providers=providers)
        self._input = self._session.get_inputs()[0].name
        self.batch, self.fixed_px = self._read_input_shape()

    def run(self, pictures: UInt8) -> list[Float32]:
        try:
            outputs = self._session.run(None, {self._input: pictures})
        except _RUNTIME_ERRORS as error:
            raise ModelError(f"{self._path}: input {pictures.shape}: {_first_line(error)}") from None
        return [np.asarray(output, np.float32) for output in outputs]

    def _read_input_shape(self) -> tuple[int, tuple[int, int] | None]:
        """The batch and the (width, height) that the model insists on; 0 and None where it takes any."""
        inputs = self._session.get_inputs()
        found = ", ".join(f"{item.name} {item.type} {item.shape}" for item in inputs)
        shape = inputs[0].shape
        if len(inputs) != 1 or inputs[0].type != "tensor(uint8)" or len(shape) != 4 or shape[3] not in (3, None):
            raise ModelError(
                f"{self._path}: expected one input tensor(uint8) (B, H, W, 3), got {found}: "
                "put a Transpose and a Cast in front, as scripts/prepare-yolox does"
            )
        batch, height, width = (side if isinstance(side, int) else 0 for side in shape[:3])
        return batch, (width, height) if width and height else None


def installed_providers() -> tuple[str, ...]:
    """Names of PROVIDERS that this ONNX Runtime has; whether they can start shows when a model is loaded."""
    present = onnxruntime.get_available_providers()
    return tuple(name for name, (provider, _) in PROVIDERS.items() if provider in present)


def automatic_threads() -> int:
    """Half of the cores that this process may use, at least one: the other half decodes."""
    return max(len(os.sched_getaffinity(0)) // 2, 1)


def _open(manifest: ModelManifest, *, threads: int, providers: Sequence[str]) -> onnxruntime.InferenceSession:
    wanted = _execution_providers(providers)
    threads = threads or automatic_threads()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    # Threads that spin between calls would take the cores that decode the other cameras.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # A memory plan is kept for every shape that was ever run: with eight batch sizes and seven kinds of cameras the
    # process went from 245 to 530 MiB and was no faster.
    options.enable_mem_pattern = False
    if CPU not in providers:
        options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    content = read_model(manifest)
    # OpenVINO has threads of its own, by default on all cores.
    own = {PROVIDERS[OPENVINO][0]: {"num_of_threads": str(threads)}}
    try:
        session = onnxruntime.InferenceSession(
            content, options, providers=[(name, own.get(name, {})) for name in wanted], enable_fallback=0
        )
    except _RUNTIME_ERRORS as error:
        raise ModelError(f"{manifest.path}: not a model that ONNX Runtime can load: {_first_line(error)}") from None
    _refuse_silent_fallback(wanted, session.get_providers())
    return session


def _execution_providers(names: Sequence[str]) -> list[str]:
    """ONNX Runtime's names, in the order asked for; ModelError for one that is not known or not installed."""
    unknown = [name for name in names if name not in PROVIDERS]
    if unknown or not names:
        named = ", ".join(unknown) or "(none)"
        raise ModelError(f"provider {named} is not known: name one or more of {', '.join(PROVIDERS)}")
    present = onnxruntime.get_available_providers()
    for name in names:
        provider, package = PROVIDERS[name]
        if provider not in present:
            here = ", ".join(known for known, (own, _) in PROVIDERS.items() if own in present)
            raise ModelError(
                f"provider {name} is not in this ONNX Runtime, which has {here}: "
                f"install {package} in place of onnxruntime (both use one import name), or name another provider"
            )
    return [PROVIDERS[name][0] for name in names]


def _refuse_silent_fallback(wanted: Sequence[str], loaded: Sequence[str]) -> None:
    """ONNX Runtime leaves out a provider whose libraries are missing without an error, and the CPU does its work."""
    for name, (provider, _) in PROVIDERS.items():
        if provider in wanted and provider not in loaded:
            raise ModelError(
                f"provider {name} is installed but could not start: its driver or libraries are missing or of another "
                "version; install them, or name another provider"
            )


def _first_line(error: Exception) -> str:
    return " ".join(str(error).split())[:300]
