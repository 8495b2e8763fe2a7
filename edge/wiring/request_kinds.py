"""What a process may ask of a camera's worker, where it must not load what the worker needs to do it."""

LOOK, TAKE_SNAPSHOT = "look", "snapshot"
