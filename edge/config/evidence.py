"""What site.yaml says of evidence: the clips of cases, for how long it is kept, and what is published of it all."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from edge.config.fields import Strict, distinct


class EvidenceConfig(Strict):
    """What a case leaves behind beside its pictures, and what is published. With both rolls 0 there are no clips."""

    pre_roll_s: Annotated[float, Field(ge=0, le=120)] = Field(
        default=10.0, description="How long before a case opened its clip begins, at the keyframe before that"
    )
    post_roll_s: Annotated[float, Field(ge=0, le=120)] = Field(
        default=5.0, description="How long after a case opened its clip ends, and goes out with an update"
    )
    clip_mb: Annotated[float, Field(ge=1, le=1024)] = Field(
        default=16.0, description="Memory for the last seconds of each stream; at 4 Mbit/s 10 MB are in use"
    )
    thumbnail_kb: Annotated[float, Field(ge=0, le=256)] = Field(
        default=0.0,
        description="A small picture inside of each alert that has one, as long as the whole alert is then at most so "
        "many thousand bytes; 0: none",
    )
    keep_days: Annotated[float, Field(ge=0, le=36_500)] = Field(
        default=90.0, description="Pictures and clips of cases that are over are deleted after so long; 0: never"
    )
    keep_gb: Annotated[float, Field(ge=0, le=1_000_000)] = Field(
        default=0.0, description="How much of them is kept in all, the oldest going first; 0: as the disk allows"
    )
    reserve_gb: Annotated[float, Field(ge=0, le=100_000)] = Field(
        default=2.0,
        description="Of the disk that is left free, at most a tenth of it: for that even what is not delivered yet "
        "goes, at last",
    )
    dismissed_first: bool = Field(
        default=True, description="Whether what a person dismissed goes before older cases, where room is needed"
    )
    blur: Annotated[tuple[Literal["faces", "plates"], ...], Field(max_length=2), AfterValidator(distinct)] = Field(
        default=(),
        description="Hidden in published pictures: the heads of people, the plates of all vehicles but a case's own",
    )

    @property
    def has_clips(self) -> bool:
        return self.pre_roll_s + self.post_roll_s > 0
