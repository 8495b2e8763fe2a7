"""The parts of the static-object model (`edge/core/background.py`), each file named for what it holds."""
