"""Loaded by the forkserver after all else that its workers share, and by nobody else."""

import encodings.idna  # noqa: F401  # this and the next: what libraries load when they are first asked for
import importlib.readers  # noqa: F401

import av.subtitles.stream  # noqa: F401
import numpy.ma
import numpy.random  # noqa: F401

from edge.evidence.drawing import load_letters
from edge.runtime.process import share_what_is_loaded

load_letters()
share_what_is_loaded()
