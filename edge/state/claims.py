"""Who still needs a case's evidence: what decides whether its pictures may be given up."""

from __future__ import annotations

from edge.state.database import Database
from edge.state.judgements import DISMISSED

# An alert that no broker, receipt, upload or bridge has dealt with yet; and what the brain has asked for again.
_WAITED_FOR = (
    "SELECT case_id FROM outbox WHERE case_id != '' "
    "UNION SELECT json_extract(body, '$.data.case_id') FROM relays "
    "UNION SELECT case_id FROM retrievals"
)
_RUNNING = "SELECT case_id FROM cases WHERE state IN ('pending', 'opened')"
_DISMISSED = (
    "SELECT case_id FROM judgements AS last WHERE verdict = ? "
    "AND id = (SELECT MAX(id) FROM judgements WHERE case_id = last.case_id)"
)


class Claims:
    """Of one gateway's database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def running(self) -> set[str]:
        """Cases that are not over."""
        return self._ids(_RUNNING)

    def waited_for(self) -> set[str]:
        """Cases of which somebody has not stored everything yet."""
        return self._ids(_WAITED_FOR)

    def dismissed(self) -> set[str]:
        """Cases of which a person's last word is that they were none."""
        return self._ids(_DISMISSED, DISMISSED)

    def _ids(self, query: str, *values: object) -> set[str]:
        return {str(case_id) for (case_id,) in self._database.read(query, *values) if case_id}
