"""Whether a place still shows the same thing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.core import appearance
from edge.core.types import Float32, UInt8
from tests.street import texture

GROUND = texture(1, 320, 240, level=90)
BOX = np.array([100, 100, 160, 145], np.float32)
SAME, OTHER = 0.5, 0.35


def with_car(seed: int = 5) -> UInt8:
    picture = GROUND.copy()
    picture[100:145, 100:160] = texture(seed, 60, 45)
    return picture


def seen(picture: UInt8) -> Float32:
    return appearance.luma_patch(picture, BOX)


def test_the_same_car_agrees_and_the_empty_place_does_not() -> None:
    assert appearance.agreement(seen(with_car()), seen(with_car())) == 1
    assert appearance.agreement(seen(with_car()), seen(GROUND)) < OTHER
    assert appearance.agreement(seen(with_car(5)), seen(with_car(6))) < OTHER


@settings(max_examples=25, deadline=None)
@given(gain=st.floats(0.5, 1.6), noise=st.integers(0, 2**32 - 1))
def test_light_and_noise_do_not_make_it_another(gain: float, noise: int) -> None:
    random = np.random.default_rng(noise)
    dimmed = with_car() * gain + random.normal(0, 3, GROUND.shape)
    now = np.clip(dimmed, 0, 255).astype(np.uint8)
    assert appearance.agreement(seen(with_car()), seen(now)) >= SAME


def test_a_pedestrian_before_a_third_leaves_it_the_same() -> None:
    picture = with_car()
    picture[90:150, 100:118] = texture(9, 18, 60)
    assert appearance.agreement(seen(with_car()), seen(picture)) >= SAME


def test_a_plain_white_van_is_not_plain_grey_ground() -> None:
    ground = np.full((240, 320, 3), 110, np.uint8)
    van = ground.copy()
    van[100:145, 100:160] = 220
    assert appearance.agreement(seen(van), seen(ground)) < OTHER
    assert appearance.agreement(seen(van), seen((van * 0.6).astype(np.uint8))) >= SAME


@pytest.mark.parametrize("box", [(-20, -20, 30, 30), (300, 220, 340, 260), (0, 0, 320, 240), (10, 10, 11, 11)])
def test_a_box_at_or_over_the_edge_has_a_patch(box: tuple[int, int, int, int]) -> None:
    patch = appearance.luma_patch(GROUND, np.array(box, np.float32))
    assert patch.shape == (appearance.PATCH_PX, appearance.PATCH_PX)
    assert np.isfinite(patch).all()
    assert appearance.agreement(patch, patch) == 1


def test_a_box_outside_the_picture_is_empty() -> None:
    assert not appearance.luma_patch(GROUND, np.array((400, 10, 420, 30), np.float32)).any()
