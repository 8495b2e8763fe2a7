"""The decoders of one stream: on a device of this machine where `sampling: {hwaccel: ...}` asks for one, else software.

A device that is not there, or that refuses the stream, is no reason to see nothing: the software decodes, and `runs_on`
says so. PyAV brings the pictures back into memory.

NVDEC was tried by hand, with scripts/measure_hwaccel.py; the others never. Where the tests run there is no device: what
they show is the way back to the software.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

import av
from av.codec.hwaccel import HWAccel
from av.video.codeccontext import VideoCodecContext

log = logging.getLogger(__name__)

NONE = "none"
AUTO = "auto"
CUDA = "cuda"
VAAPI = "vaapi"
V4L2M2M = "v4l2m2m"
HWACCELS = (NONE, AUTO, CUDA, VAAPI, V4L2M2M)
SOFTWARE = "software"

_AUTO_ORDER = (CUDA, VAAPI, V4L2M2M)
_OWN_DECODERS = {V4L2M2M}  # decoders with a name of their own, as h264_v4l2m2m; the others help FFmpeg's decoder
_REFUSED_KEYFRAMES_LIMIT = 2  # in a row: one may be damaged
_FAILURES = (av.FFmpegError, av.codec.codec.UnknownCodecError, OSError)


def tell(camera: str, hwaccel: str, runs_on: str) -> None:
    """To the log; nothing where no device was asked for."""
    if hwaccel != NONE:
        level = logging.WARNING if runs_on.startswith(SOFTWARE) else logging.INFO
        log.log(level, "camera %s, hwaccel %s: decoded by %s", camera, hwaccel, runs_on)


class Decoders:
    """Makes one decoder after another for a stream: the first, and a fresh one after each fault.

    `runs_on` is "software" or a device's name, or "software: " and why it is not what was asked for.
    """

    runs_on: str

    def __init__(self, context: VideoCodecContext, hwaccel: str = NONE) -> None:
        if hwaccel not in HWACCELS:
            raise ValueError(f"hwaccel must be one of {', '.join(HWACCELS)}, got {hwaccel!r}")
        self._stream_context = context
        self._device = ""  # software
        self._refused_keyframes = 0  # since the last picture
        self._shown = False
        self.runs_on = SOFTWARE
        if hwaccel != NONE:
            self._choose(_AUTO_ORDER if hwaccel == AUTO else (hwaccel,))

    @property
    def on_device(self) -> bool:
        return bool(self._device)

    def first(self) -> VideoCodecContext:
        """In software the stream's own, which alone knows how the file's header turns its pictures."""
        return self.fresh() if self._device else self._stream_context

    def fresh(self) -> VideoCodecContext:
        """Not yet open. A device that has gone meanwhile is done without."""
        if self._device:
            try:
                return self._create(self._device)
            except _FAILURES as error:
                self.go_without(_in_words(error))
        return self._create("")

    def showed(self, context: VideoCodecContext) -> None:
        """A picture came. The first one tells whether the device made it: it may not know a stream's profile."""
        self._refused_keyframes = 0
        if self._device and not self._shown and self._device not in _OWN_DECODERS and _made_in_memory(context):
            self.go_without("the device does not decode this kind of stream")
        self._shown = True

    def refused(self, *, keyframe: bool) -> bool:
        """The decoder refused a packet. Whether it is the device that is to blame: from now on the software decodes."""
        self._refused_keyframes += keyframe
        if not self._device or self._refused_keyframes < _REFUSED_KEYFRAMES_LIMIT:
            return False
        self.go_without(f"it refused {self._refused_keyframes} keyframes in a row")
        return True

    def go_without(self, why: str) -> None:
        self.runs_on = f"{SOFTWARE}: {self._device or 'hwaccel'}: {why}"
        self._device = ""

    def _choose(self, devices: tuple[str, ...]) -> None:
        problems = []
        for device, problem in self._tried(devices):
            if not problem:
                self._device = self.runs_on = device
                return
            problems.append(f"{device}: {problem}")
        self.runs_on = f"{SOFTWARE}: {'; '.join(problems)}"

    def _tried(self, devices: tuple[str, ...]) -> Iterator[tuple[str, str]]:
        """Each with "" or why it cannot be used."""
        for device in devices:
            try:
                self._create(device).open()
            except _FAILURES as error:
                yield device, _in_words(error)
            else:
                yield device, ""

    def _create(self, device: str) -> VideoCodecContext:
        codec, helped = self._stream_context.codec, None
        if device in _OWN_DECODERS:
            codec = av.Codec(f"{codec.name}_{device}", "r")
        elif device:
            helped = HWAccel(device, allow_software_fallback=True)
            if device not in {config.device_type.name for config in codec.hardware_configs or ()}:
                raise av.codec.codec.UnknownCodecError(f"this build of PyAV decodes no {codec.name} with it")
        context = av.CodecContext.create(codec, "r", hwaccel=helped)
        assert isinstance(context, VideoCodecContext)
        context.extradata = self._stream_context.extradata
        if device:
            context.width, context.height = self._stream_context.width, self._stream_context.height
        return context


def _made_in_memory(context: VideoCodecContext) -> bool:
    """A decoder that a device helps has the device's own format of pictures."""
    formats = {config.format.name for config in context.codec.hardware_configs or () if config.format is not None}
    return context.pix_fmt not in formats


def _in_words(error: Exception) -> str:
    if isinstance(error, av.codec.codec.UnknownCodecError):
        said = str(error)
        return said if " " in said else f"this build of PyAV has no decoder {said}"
    reason = error.strerror if isinstance(error, OSError) else type(error).__name__
    return f"no such device can be opened here ({reason})"
