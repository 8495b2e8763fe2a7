"""No password in what is printed."""

from __future__ import annotations

import string

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


@pytest.mark.parametrize(
    "url",
    [
        "rtsp://admin:ge'heim@h/1",
        "rtsp://admin:ge heim@h/1",
        "rtsp://admin:ge @ heim@h/1",
        "http://h/cgi?email=a@b&password=geheim",
        "rtsp://admin:x@h/cgi?password=ge@heim",
        "http://h/video&pw=geheim",
    ],
)
def test_a_password_with_odd_signs_does_not_appear(url: str) -> None:
    assert "heim" not in redact(f"cannot open '{url}': refused")


PIECE = "geheim"  # whatever stands between them, no piece of a password may be seen
secrets = st.lists(st.sampled_from(string.punctuation), min_size=1, max_size=4).map(
    lambda signs: PIECE + "".join(sign + PIECE for sign in signs)
)


@given(
    secrets,
    st.sampled_from(
        [
            "rtsp://u:{}@h/1",
            "http://h/x?pwd={}",
            "http://h/?a=1&token={}",
            "rtsp://h/user=admin_password={}_channel=1.sdp",
            "rtsp://u:x@h/cgi?user=a&password={}&n=1",
            "rtsp://u:{}@h/cgi?mail=a@b",
        ]
    ),
)
def test_no_piece_of_a_password_ever_appears(secret: str, form: str) -> None:
    assert PIECE not in redact(form.format(secret))
