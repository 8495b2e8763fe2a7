"""No password in what is printed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.errors import redact


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://admin:geheim@10.0.0.8/stream1", "rtsp://***@10.0.0.8/stream1"),
        ("rtsp://u:p@ss@h/x", "rtsp://***@h/x"),
        ("rtsp://admin:pa/ss@h/1", "rtsp://***@h/1"),
        ("http://h/cgi?user=admin&password=geheim", "http://h/cgi?…"),
        ("rtsp://h/user=admin_password=geheim_channel=1.sdp", "rtsp://h/…"),
        ("rtsp://h:554/live/main", "rtsp://h:554/live/main"),
        ("no URL at all: a/b@c?d", "no URL at all: a/b@c?d"),
        ("cannot open rtsp://u:p@h/1 after 3 s", "cannot open rtsp://***@h/1 after 3 s"),
    ],
)
def test_scheme_and_host_stay_and_secrets_go(url: str, shown: str) -> None:
    assert redact(url) == shown


secrets = st.text(
    st.characters(codec="ascii", exclude_characters=" \t\r\n\x0b\x0c\x1c\x1d\x1e\x1f'\"<>"), min_size=6
).map(lambda text: f"S{text}E")


@given(secrets, st.sampled_from(["rtsp://u:{}@h/1", "http://h/x?pwd={}", "http://h/?a=1&token={}"]))
def test_a_password_never_appears(secret: str, form: str) -> None:
    assert secret not in redact(form.format(secret))
