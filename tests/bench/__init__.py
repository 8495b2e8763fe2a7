"""The test bench: real RTSP cameras on the loopback, made from recorded clips, that break on command."""
