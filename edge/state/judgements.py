"""What people said of cases: dismissed with a reason, confirmed, or a word taken back.

Every word is kept as it was given; of one case the newest holds. Which dismissed things are to be left alone while
they stay is a table of its own (`dismissals`): set here, cleared by the camera's worker. No threshold moves by it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields

from edge.core.types import OPENED, Case
from edge.errors import UsageError
from edge.state.database import Database

DISMISSED = "dismissed"
CONFIRMED = "confirmed"
REVOKED = "revoked"
# Why a case was dismissed: nothing wrong was done, nothing is there, it is something else, it may stand there, it is
# the same as another case, or what the note says.
REASONS = ("no-violation", "not-there", "wrong-thing", "allowed", "duplicate", "other")

JUDGEMENTS_MAX = 200_000  # words; the oldest are deleted beyond: at a hundred a day, more than five years
NOTE_MAX = 1000  # letters
PREFIX_MIN = 8  # letters of a case's id that are enough where no other begins so
_LISTED_MAX = 1000


@dataclass(frozen=True, slots=True)
class Judgement:
    """One person's word on one case."""

    case_id: str
    camera: str
    scenario: str
    zone: str
    opened_wall_ns: int
    verdict: str  # DISMISSED | CONFIRMED | REVOKED
    reason: str = ""  # of REASONS, for a dismissal
    note: str = ""
    judged_by: str = ""
    judged_wall_ns: int = 0


@dataclass(frozen=True, slots=True)
class Tally:
    """The cases of one scenario at one camera, by what was said of them."""

    camera: str
    scenario: str
    opened: int
    confirmed: int
    dismissed: int
    reasons: tuple[tuple[str, int], ...]  # of the dismissed ones, in the order of REASONS


_COLUMNS = tuple(field.name for field in fields(Judgement))
_NEWEST = (
    f"SELECT {', '.join(_COLUMNS)}, id FROM judgements "
    "WHERE id IN (SELECT MAX(id) FROM judgements GROUP BY case_id) AND verdict != 'revoked'"
)


class Judgements:
    """The table of judgements in a gateway's database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def whole_id(self, case_id: str) -> str:
        """The id of the opened case that begins so. Raises UsageError where none does, or several."""
        case_id = case_id.lower()
        if len(case_id) < PREFIX_MIN or not set(case_id) <= set("0123456789abcdef-"):
            raise UsageError(f"{case_id!r}: no case's id; give it as alerts name it, or its first {PREFIX_MIN} letters")
        query = "SELECT case_id FROM cases WHERE case_id >= ? AND case_id < ? AND state != 'pending' LIMIT 2"
        found = [str(name) for (name,) in self._database.read(query, case_id, case_id + "g")]
        if not found:
            raise UsageError(f"{case_id}: this gateway has opened no such case; see `edge review list`")
        if len(found) > 1:
            raise UsageError(f"{case_id}: several cases begin so; give more of the id")
        return found[0]

    def of_case(self, case_id: str) -> Judgement | None:
        """The word that holds, None for a case that nobody has judged."""
        found = [judgement for judgement, _ in self._newest("AND case_id = ?", case_id)]
        return found[0] if found else None

    def put(self, case: Case, judgement: Judgement) -> bool:
        """Keep a word, and with it whether the case's thing is to be left alone; False where the same word holds."""
        is_new = _said(self.of_case(case.case_id)) != _said(judgement)
        with self._database.writing() as connection:
            if is_new:
                connection.execute(
                    f"INSERT INTO judgements ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})",
                    [getattr(judgement, name) for name in _COLUMNS],
                )
                newest = "(SELECT MAX(id) FROM judgements)"
                connection.execute(f"DELETE FROM judgements WHERE id <= {newest} - ?", (JUDGEMENTS_MAX,))
            if judgement.verdict != DISMISSED:
                connection.execute("DELETE FROM dismissals WHERE case_id = ?", (case.case_id,))
            elif case.state == OPENED:
                connection.execute(
                    "INSERT OR IGNORE INTO dismissals (case_id, camera) VALUES (?, ?)", (case.case_id, case.camera)
                )
        return is_new

    def standing(self, camera: str) -> set[str]:
        """The dismissed cases of a camera whose things are to be left alone while they stay. Cheap."""
        return {
            str(case_id)
            for (case_id,) in self._database.read("SELECT case_id FROM dismissals WHERE camera = ?", camera)
        }

    def end_standing(self, case_ids: Iterable[str]) -> None:
        """These things have gone."""
        with self._database.writing() as connection:
            connection.executemany("DELETE FROM dismissals WHERE case_id = ?", [(one,) for one in case_ids])

    def end_elsewhere(self, cameras: Iterable[str]) -> None:
        """Nobody looks any more at the things of cameras other than these."""
        here = json.dumps(sorted(cameras))
        with self._database.writing() as connection:
            connection.execute(
                "DELETE FROM dismissals WHERE camera NOT IN (SELECT value FROM json_each(?))",
                (here,),
            )

    def listed(self, *, camera: str | None = None, limit: int = 50) -> list[tuple[Judgement, bool]]:
        """The newest words, the newest first, each with whether its dismissal still holds."""
        where = "AND camera = ?" if camera else "AND ? IS NULL"
        return self._newest(where, camera, limit=limit)

    def judged(self, *, camera: str | None = None, scenario: str | None = None) -> list[Judgement]:
        """Every case that was judged, in the order of their opening."""
        query = f"{_NEWEST} AND (camera = ?1 OR ?1 IS NULL) AND (scenario = ?2 OR ?2 IS NULL)"
        rows = self._database.read(f"{query} ORDER BY opened_wall_ns, case_id", camera, scenario)
        return [Judgement(*row[:-1]) for row in rows]

    def tallies(self, *, since_wall_ns: int = 0) -> list[Tally]:
        """By camera and scenario, of the cases opened since then. A judged case counts as opened whatever became of
        its row."""
        opened = (
            "SELECT case_id, camera, scenario FROM cases WHERE state != 'pending' AND opened_wall_ns >= ?1 "
            "UNION SELECT case_id, camera, scenario FROM judgements WHERE opened_wall_ns >= ?1"
        )
        query = (
            f"SELECT o.camera, o.scenario, COALESCE(j.verdict, ''), COALESCE(j.reason, ''), COUNT(*) FROM ({opened}) o "
            f"LEFT JOIN ({_NEWEST}) j ON j.case_id = o.case_id GROUP BY 1, 2, 3, 4 ORDER BY 1, 2"
        )
        counted: dict[tuple[str, str], dict[tuple[str, str], int]] = {}
        for camera, scenario, verdict, reason, count in self._database.read(query, since_wall_ns):
            counted.setdefault((camera, scenario), {})[verdict, reason] = int(count)
        return [_tally(camera, scenario, counts) for (camera, scenario), counts in counted.items()]

    def _newest(self, where: str, value: object, *, limit: int = _LISTED_MAX) -> list[tuple[Judgement, bool]]:
        query = (
            f"SELECT *, case_id IN (SELECT case_id FROM dismissals) FROM ({_NEWEST} {where}) ORDER BY id DESC LIMIT ?"
        )
        return [(Judgement(*row[:-2]), bool(row[-1])) for row in self._database.read(query, value, limit)]


def judgement_of(
    case: Case, verdict: str, *, reason: str = "", note: str = "", judged_by: str = "", now_wall_ns: int
) -> Judgement:
    """A word on a case. Raises UsageError for a reason that is none, too many words, or no text."""
    if verdict == DISMISSED and reason not in REASONS:
        raise UsageError(f"reason {reason!r}: expected one of {', '.join(REASONS)}")
    if len(note) > NOTE_MAX or len(judged_by) > NOTE_MAX:
        raise UsageError(f"a note or a name of more than {NOTE_MAX} letters: make it shorter")
    if not (note + judged_by).isprintable():  # `edge review list` has one line for each; half a letter is no UTF-8
        raise UsageError("a note or a name must be one line of UTF-8 text without control characters")
    return Judgement(
        case.case_id,
        case.camera,
        case.scenario,
        case.zone,
        case.opened_wall_ns,
        verdict,
        reason,
        note,
        judged_by,
        now_wall_ns,
    )


def _said(judgement: Judgement | None) -> Sequence[str]:
    """Nobody's word on a case is as good as one that was taken back."""
    if judgement is None:
        return (REVOKED, "", "")
    return (judgement.verdict, judgement.reason, judgement.note if judgement.verdict != REVOKED else "")


def _tally(camera: str, scenario: str, counts: dict[tuple[str, str], int]) -> Tally:
    reasons = [(reason, counts.get((DISMISSED, reason), 0)) for reason in REASONS]
    return Tally(
        camera,
        scenario,
        opened=sum(counts.values()),
        confirmed=counts.get((CONFIRMED, ""), 0),
        dismissed=sum(count for _, count in reasons),
        reasons=tuple((reason, count) for reason, count in reasons if count),
    )
