"""Every number of the static-object model that a person may wish to turn, with why it is what it is."""

from __future__ import annotations

from dataclasses import dataclass

from edge.core.types import NS_PER_S


@dataclass(frozen=True, slots=True)
class BackgroundSettings:
    """Times in ns, sizes in cells of the small picture or shares; differences in logs (0.1 is about 10 % of light)."""

    cells_max: int = 60_000  # of the small picture: the smallest thing that is told, 0.0005 of it, is 5 x 5 cells
    look_ns: int = NS_PER_S // 2  # things that stay for seconds need no more looks
    learn_ns: int = 3 * NS_PER_S  # a walker leaves his own width in less, so the median of this time is empty
    still_ns: int = 2 * NS_PER_S  # nobody stands as still as a thing for longer without a track
    empty_ns: int = NS_PER_S  # seen empty for this long, a place is empty; one look may be an accident
    follow_ns: int = 60 * NS_PER_S  # how fast the empty place follows slow change: wet floors, fading light
    absorb_ns: int = 4 * 3600 * NS_PER_S  # what stood for so long belongs to the place
    relearn_ns: int = 5 * NS_PER_S  # a picture changed as a whole for so long is a new place: camera turned, lamps on
    light_ns: int = 5 * NS_PER_S  # light that has stayed for so long is how the place is lit
    lit_share_min: float = 0.02  # of the picture; light without texture to prove it is large, and has things in it
    smooth_share_min: float = 0.05  # of the picture; nothing so large that is put down is all of one surface
    relight_ns: int = 30 * NS_PER_S  # one light is not put twice on the ground under a thing
    explained_ns: int = 3 * NS_PER_S  # a track that has left goes on explaining: who comes back has left nothing
    lost_ns: int = 20 * NS_PER_S  # and one that was lost where it stood; detectors miss who stands still
    known_ns: int = 2 * NS_PER_S  # only of whom was seen for so long, on his way there or standing
    shrunk_share: float = 0.6  # of the cells that it explained: with fewer, what is left is something else
    lower_share: float = 0.7  # of the height of whom it explained: what is so much lower is not he
    feet_share: float = 0.25  # of somebody's height around his feet: his shadow, and what he holds in his hand
    feet_area_max: float = 0.15  # of his box; goods spread out before him are larger
    noise_sigmas: float = 4.0  # a difference counts beyond so many deviations of the cell's own noise
    noise_levels: float = 4.0  # grey levels by which compression moves dark cells; in logs it grows with darkness
    noise_ns: int = 5 * NS_PER_S  # how often the noise is looked up: it changes over a minute
    luma_min: float = 0.10  # and beyond this: compression moves flat areas by some grey levels
    chroma_min: float = 0.08
    difference_max: float = 0.5  # even in waving leaves a difference of 40 % counts
    changed_share_max: float = 0.6  # of the zones, at once: no thing does that
    shift_max_cells: float = 4.0  # the picture is put back by so much; beyond that the camera looks elsewhere
    shift_min_cells: float = 0.1  # less is the noise of measuring it
    shift_gain_max: float = 0.7  # of the changed cells left when the picture is put back: then it was the camera
    shift_settles_cells: float = 0.5  # the same shift for `relearn_ns`, give or take so much: it stays so
    shifted_share_min: float = 0.01  # of the cells changed: fewer is no moved picture, whatever moved in it
    turned_share_min: float = 0.1  # and fewer is no camera that was turned
    shift_fit_max: float = 0.7  # of the difference left when the empty place is moved along: then it was the camera
    join_cells: int = 3  # gaps bridged: straps, glossy spots, a pattern that equals the floor
    thing_min_cells: int = 6  # fewer are noise
    still_tolerances: float = 1.5  # a thing's own surface is noisier than the place: its texture wanders in the codec
    plain_tolerances: float = 1.3  # cells that differ by less are kept in mind but make no region
    strength_min: float = 2.0  # tolerances, of a large region; noise and drift stay near one, things are far off
    small_cells: float = 10.0  # a region so small must be twice as strong: chance makes small ones
    margin_share: float = 0.03  # of the picture's size, looked at beyond the zones, so that no thing is cut
    covered_share: float = 0.5  # of a region's box within a track's: the track explains it
    seen_share: float = 0.5  # of a region in view again before it is held to be left behind by its explainer
    same_iou: float = 0.3  # an old region is explained by a new track only if it is the same thing
    held_ns: int = 5 * NS_PER_S  # what has rested for so long and yet changes nothing is in the empty picture itself
    held_share: float = 0.8  # of the middle of its box
    join_share: float = 0.3  # of a region's size: fragments so near that came together are one thing
    join_together_ns: int = 2 * NS_PER_S
    sure_score_min: float = 0.5  # of a track whose label is doubtful
    rest_ns: int = NS_PER_S  # only a track that rests can be a still region
    rest_speed: float = 0.3  # box heights/s; slower, a track may be at rest: somebody who turns round where he stands
    stir_share_max: float = 0.02  # of an outline that is not as at the look before; people's: 0.03 to 0.2, things' 0
    unrest_max: float = 0.4  # of the looks
    unrest_again: float = 0.6  # and what was calm already: a bag that tips over, a passer-by
    calm_ns: int = 10 * NS_PER_S  # calm for so long, it is a thing for good
    regions_max: int = 32
