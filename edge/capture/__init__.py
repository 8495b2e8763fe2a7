"""Sources of frames: `packets.py` (PyAV) is the default, `opencv.py` the second reader, one contract suite for both."""
