-- A gateway's state as version 1 of the schema left it: an open and a pending case, an alert sent and one waiting.
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
    appearance      BLOB NOT NULL,     -- float32, little endian, a square
    started_ns      INTEGER NOT NULL,
    opened_ns       INTEGER NOT NULL,
    last_seen_ns    INTEGER NOT NULL,
    visible_ns      INTEGER NOT NULL,
    cleared_ns      INTEGER NOT NULL,
    started_wall_ns INTEGER NOT NULL,
    opened_wall_ns  INTEGER NOT NULL,
    alerts          INTEGER NOT NULL
) WITHOUT ROWID;

CREATE INDEX IF NOT EXISTS cases_running ON cases (camera, started_wall_ns) WHERE state IN ('pending', 'opened');

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

INSERT OR IGNORE INTO meta (key, value) VALUES ('schema_version', '1');

INSERT INTO cases VALUES
    ('5f1d0a52-0000-5000-8000-000000000001', 'cam', 'illegal-parking', 'kerb', 'opened', 'car', 0.8, 1,
     100.0, 100.0, 150.0, 140.0, X'000020410000a0410000f04100002042', 5000000000, 15000000000, 20000000000, 15000000000, 0,
     1777858200000000000, 1777858210000000000, 2),
    ('5f1d0a52-0000-5000-8000-000000000002', 'cam', 'illegal-parking', 'kerb', 'pending', 'bus', 0.36, 1,
     10.0, 10.0, 60.0, 40.0, X'000020410000a0410000f04100002042', 6000000000, 0, 20000000000, 14000000000, 0, 1777858201000000000, 0, 0);

INSERT INTO outbox (id, topic, body, created, sent) VALUES
    ('alert-1', 'cityeye/v1/s/g/alert/cam/illegal-parking', '{"sequence":1}', '2026-05-04T09:30:10.000+08:00', 1),
    ('alert-2', 'cityeye/v1/s/g/alert/cam/illegal-parking', '{"sequence":2}', '2026-05-04T09:30:15.000+08:00', 0);

COMMIT;
