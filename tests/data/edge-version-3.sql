-- A gateway's state as version 3 of the schema left it: an open case, an alert sent and one waiting, a dismissal.
BEGIN IMMEDIATE;

CREATE TABLE IF NOT EXISTS meta (
    key   TEXT PRIMARY KEY,
    value TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE IF NOT EXISTS cases (
    case_id         TEXT PRIMARY KEY,
    camera          TEXT NOT NULL,
    scenario        TEXT NOT NULL,
    zone            TEXT NOT NULL,
    state           TEXT NOT NULL CHECK (state IN ('pending', 'opened', 'cleared', 'withdrawn')),
    label           TEXT NOT NULL,
    score           REAL NOT NULL,
    count           INTEGER NOT NULL,
    x1              REAL NOT NULL,
    y1              REAL NOT NULL,
    x2              REAL NOT NULL,
    y2              REAL NOT NULL,
    appearance      BLOB NOT NULL,     -- float32, little endian, a square; empty once it was cleared
    started_ns      INTEGER NOT NULL,
    opened_ns       INTEGER NOT NULL,
    last_seen_ns    INTEGER NOT NULL,
    visible_ns      INTEGER NOT NULL,
    cleared_ns      INTEGER NOT NULL,
    started_wall_ns INTEGER NOT NULL,
    opened_wall_ns  INTEGER NOT NULL,
    alerts          INTEGER NOT NULL,
    frame_width_px  INTEGER NOT NULL DEFAULT 0,  -- 0: unknown
    frame_height_px INTEGER NOT NULL DEFAULT 0,
    reasons         TEXT NOT NULL DEFAULT '[]',  -- a JSON list of names
    occurrences     TEXT NOT NULL DEFAULT '[]',  -- a JSON list of [day, started_wall_ns, count, told]
    -- what the case is judged by (Grounds)
    found_ns        INTEGER NOT NULL DEFAULT 0,
    found_looks     INTEGER NOT NULL DEFAULT 0,
    score_sum       REAL NOT NULL DEFAULT 0,
    arrived         INTEGER NOT NULL DEFAULT 0,
    changed_looks   INTEGER NOT NULL DEFAULT 0,
    empty_ns        INTEGER NOT NULL DEFAULT 0,
    departed        INTEGER NOT NULL DEFAULT 0,
    told_ns         INTEGER NOT NULL DEFAULT 0,
    begun_x1        REAL NOT NULL DEFAULT 0,
    begun_y1        REAL NOT NULL DEFAULT 0,
    begun_x2        REAL NOT NULL DEFAULT 0,
    begun_y2        REAL NOT NULL DEFAULT 0
) WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS cases_running ON cases (camera, started_wall_ns) WHERE state IN ('pending', 'opened');

CREATE INDEX IF NOT EXISTS cases_over ON cases (started_wall_ns) WHERE state IN ('cleared', 'withdrawn');

-- On which days it came, for the rules that ask how often. Counts and times, nothing of anybody.
CREATE TABLE IF NOT EXISTS occurrences (
    camera          TEXT NOT NULL,
    scenario        TEXT NOT NULL,
    zone            TEXT NOT NULL,
    day             INTEGER NOT NULL,  -- of the site's calendar, 1 for the first of January of the year 1
    started_wall_ns INTEGER NOT NULL,
    count           INTEGER NOT NULL,
    told            INTEGER NOT NULL,  -- a case was opened for it
    PRIMARY KEY (camera, scenario, zone, day)
) WITHOUT ROWID;

-- AUTOINCREMENT: a number is never given twice, not even after its row was deleted; a rollback gives it back.
CREATE TABLE IF NOT EXISTS outbox (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    id       TEXT NOT NULL UNIQUE,
    topic    TEXT NOT NULL,
    body     TEXT NOT NULL,            -- the alert as it is published, sequence filled in
    created  TEXT NOT NULL,            -- the alert's own time
    sent     INTEGER NOT NULL DEFAULT 0
);

CREATE INDEX IF NOT EXISTS outbox_unsent ON outbox (sequence) WHERE sent = 0;

-- What an operator asks of a camera's worker. A table alone needs no new version: an older program leaves it alone.
CREATE TABLE IF NOT EXISTS requests (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    camera          TEXT NOT NULL,
    kind            TEXT NOT NULL,
    body            TEXT NOT NULL,     -- a JSON object
    created_wall_ns INTEGER NOT NULL,
    until_wall_ns   INTEGER NOT NULL,  -- nobody waits for the answer after that
    done            INTEGER,           -- NULL while it waits, then 1 done or 0 refused
    answer          TEXT NOT NULL DEFAULT ''
);

CREATE INDEX IF NOT EXISTS requests_waiting ON requests (camera, id) WHERE done IS NULL;

-- What people said of cases, word by word: the newest of a case holds, none is changed. Kept beside the cases, so that
-- it outlives them.
CREATE TABLE IF NOT EXISTS judgements (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    case_id        TEXT NOT NULL,
    camera         TEXT NOT NULL,
    scenario       TEXT NOT NULL,
    zone           TEXT NOT NULL,
    opened_wall_ns INTEGER NOT NULL,
    verdict        TEXT NOT NULL CHECK (verdict IN ('dismissed', 'confirmed', 'revoked')),
    reason         TEXT NOT NULL DEFAULT '',  -- of a dismissal
    note           TEXT NOT NULL DEFAULT '',
    judged_by      TEXT NOT NULL DEFAULT '',
    judged_wall_ns INTEGER NOT NULL
);

CREATE INDEX IF NOT EXISTS judgements_of_case ON judgements (case_id, id);

-- Dismissed cases whose thing is still to be left alone: set by whoever dismisses, deleted by the camera's worker when
-- the thing has gone, or when the dismissal is revoked.
CREATE TABLE IF NOT EXISTS dismissals (
    case_id TEXT PRIMARY KEY,
    camera  TEXT NOT NULL
) WITHOUT ROWID;

-- Measures on their way to the courier, each sent once or lost.
CREATE TABLE IF NOT EXISTS measures (
    id    INTEGER PRIMARY KEY AUTOINCREMENT,
    topic TEXT NOT NULL,
    body  TEXT NOT NULL                -- as it is published
);

INSERT OR IGNORE INTO meta (key, value) VALUES ('schema_version', '3');

INSERT INTO cases (case_id, camera, scenario, zone, state, label, score, count, x1, y1, x2, y2, appearance, started_ns,
    opened_ns, last_seen_ns, visible_ns, cleared_ns, started_wall_ns, opened_wall_ns, alerts)
    VALUES ('c1', 'cam', 'illegal-parking', 'kerb', 'opened', 'car', 0.8, 1, 1, 2, 3, 4, x'00000000', 5, 6, 7, 8, 0, 9, 10, 2),
        ('c2', 'cam', 'illegal-parking', 'kerb', 'withdrawn', 'car', 0.8, 1, 1, 2, 3, 4, x'', 5, 6, 7, 8, 0, 9, 10, 2);
INSERT INTO dismissals (case_id, camera) VALUES ('c2', 'cam');
INSERT INTO outbox (id, topic, body, created, sent) VALUES ('a1', 't', '{"sequence":1}', '2026-05-04T09:31:00.123+08:00', 1),
    ('a2', 't', '{"sequence":2}', '2026-05-04T09:32:00.123+08:00', 0);

COMMIT;
