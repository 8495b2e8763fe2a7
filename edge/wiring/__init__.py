"""From a configuration to real objects: the only place where the parts of the frame path meet."""
