"""City Eye Edge: video analytics on camera gateways."""

__version__ = "0.1.0"
