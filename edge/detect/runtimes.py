"""What runs a model's file: the seam at which another runtime, as that of an NPU, is put in.

All that is picture or box stays with edge: letterbox, decoding of outputs, suppression. A runtime takes letterboxed
bytes and gives the network's outputs. `docs/models.md` shows one in one file.

A configuration names it among `detector: {providers: [...]}`. ONNX Runtime's are known; any other name is looked for
among the entry points `edge.runtimes` of the packages that are installed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from typing import Protocol

from edge.core.types import Float32, UInt8
from edge.detect.manifest import ModelManifest
from edge.errors import ModelError

GROUP = "edge.runtimes"
CPU = "cpu"
OPENVINO = "openvino"
CUDA = "cuda"
TENSORRT = "tensorrt"
OF_ONNX_RUNTIME = (CPU, OPENVINO, CUDA, TENSORRT)


class Runtime(Protocol):
    """One model, loaded. Stateless; used by one thread."""

    batch: int  # pictures that `run` takes, no more and no fewer; 0: any number
    fixed_px: (
        tuple[int, int] | None
    )  # (width, height) of the only input that it takes; None: any that the manifest allows

    def run(self, pictures: UInt8) -> Sequence[Float32]:
        """(B, H, W, 3) bytes in the manifest's order of colours -> the outputs of the manifest's format, B rows each.

        `pictures` is not kept and not changed. Raises ModelError.
        """
        ...


OpenRuntime = Callable[..., Runtime]  # (manifest, *, threads: int); raises ModelError with what is missing


def open_runtime(manifest: ModelManifest, *, threads: int, providers: Sequence[str]) -> Runtime:
    """`providers`: those of ONNX Runtime, best first, or one other. Raises ModelError."""
    others = [name for name in providers if name not in OF_ONNX_RUNTIME]
    if not others:
        from edge.detect.onnx_runtime import OnnxRuntime

        return OnnxRuntime(manifest, threads=threads, providers=providers)
    if len(providers) > 1:
        raise ModelError(f"provider {others[0]} is a runtime of its own and cannot be mixed with others: name it alone")
    return _installed(others[0])(manifest, threads=threads)


def installed_runtimes() -> tuple[str, ...]:
    """Names of runtimes beside ONNX Runtime."""
    return tuple(sorted(entry_points(group=GROUP).names))


def _installed(name: str) -> OpenRuntime:
    found = tuple(entry_points(group=GROUP, name=name))
    if not found:
        known = ", ".join((*OF_ONNX_RUNTIME, *installed_runtimes()))
        raise ModelError(
            f"provider {name} is not known: known are {known}; another runtime is a package with an entry point "
            f"{GROUP} of this name, installed beside edge"
        )
    if len(found) > 1:
        values = ", ".join(point.value for point in found)
        raise ModelError(f"provider {name} is brought by {len(found)} packages ({values}): uninstall all but one")
    try:
        load: OpenRuntime = found[0].load()
    except (ImportError, AttributeError) as error:
        place = f"provider {name}: {found[0].value}"
        raise ModelError(f"{place} cannot be loaded: {error}: reinstall its package") from None
    return load
