-- The gateway's state: cases and the alerts that tell of them. Run again on every opening, so each line must bear that.
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
    told_id         TEXT NOT NULL DEFAULT '',    -- of its last alert, delivered or not
    told_sequence   INTEGER NOT NULL DEFAULT 0,
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

-- One row, kept by the triggers below: who forgets the oldest must not count 100,000 cases at each new end.
CREATE TABLE IF NOT EXISTS cases_totals (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    over INTEGER NOT NULL              -- cleared and withdrawn
);

INSERT INTO cases_totals (only, over)
    SELECT 1, (SELECT COUNT(*) FROM cases WHERE state IN ('cleared', 'withdrawn'))
    WHERE NOT EXISTS (SELECT 1 FROM cases_totals);

CREATE TRIGGER IF NOT EXISTS cases_came_over AFTER INSERT ON cases WHEN new.state IN ('cleared', 'withdrawn') BEGIN
    UPDATE cases_totals SET over = over + 1;
END;

CREATE TRIGGER IF NOT EXISTS cases_changed_over AFTER UPDATE OF state ON cases
    WHEN (old.state IN ('cleared', 'withdrawn')) != (new.state IN ('cleared', 'withdrawn')) BEGIN
    UPDATE cases_totals SET over = over + (new.state IN ('cleared', 'withdrawn')) - (old.state IN ('cleared', 'withdrawn'));
END;

CREATE TRIGGER IF NOT EXISTS cases_went_over AFTER DELETE ON cases WHEN old.state IN ('cleared', 'withdrawn') BEGIN
    UPDATE cases_totals SET over = over - 1;
END;

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
    sequence    INTEGER PRIMARY KEY AUTOINCREMENT,
    id          TEXT NOT NULL UNIQUE,
    topic       TEXT NOT NULL,
    created     TEXT NOT NULL,         -- the alert's own time
    sent        INTEGER NOT NULL DEFAULT 0,
    case_id     TEXT NOT NULL DEFAULT '',
    kind        TEXT NOT NULL DEFAULT '',
    spare       INTEGER NOT NULL DEFAULT 0,   -- 1, 2: a later alert says it all; in this order they go for room
    replaces    TEXT NOT NULL DEFAULT '',     -- numbers that it stands for too, as in its body: '4,7'
    bytes       INTEGER NOT NULL DEFAULT 0,   -- that the row takes
    tries       INTEGER NOT NULL DEFAULT 0,   -- times that the broker confirmed it
    sent_wall_ns INTEGER NOT NULL DEFAULT 0,  -- when the broker confirmed it last
    due_wall_ns INTEGER NOT NULL DEFAULT 0,   -- once sent: when it is sent again, should no receipt come
    body        TEXT NOT NULL          -- the alert as it is published, sequence filled in; last, for it may be long
);

CREATE INDEX IF NOT EXISTS outbox_unsent ON outbox (sequence) WHERE sent = 0;
CREATE INDEX IF NOT EXISTS outbox_due ON outbox (sent_wall_ns, due_wall_ns) WHERE sent = 1;
CREATE INDEX IF NOT EXISTS outbox_sent ON outbox (sequence, sent_wall_ns) WHERE sent = 1;
CREATE INDEX IF NOT EXISTS outbox_spare ON outbox (spare, sequence) WHERE spare > 0;
CREATE INDEX IF NOT EXISTS outbox_of_case ON outbox (case_id);

-- One row: what would cost a look at every alert, were it counted when asked for. Kept by the triggers below.
CREATE TABLE IF NOT EXISTS outbox_totals (
    only        INTEGER PRIMARY KEY CHECK (only = 1),
    unsent      INTEGER NOT NULL,
    unreceipted INTEGER NOT NULL,
    bytes       INTEGER NOT NULL,
    handed_over INTEGER NOT NULL,             -- up to this number alerts may be known outside: they are never changed
    merged      INTEGER NOT NULL DEFAULT 0,
    given_up    INTEGER NOT NULL DEFAULT 0,
    alerts_max  INTEGER NOT NULL DEFAULT 200000,
    bytes_max   INTEGER NOT NULL DEFAULT 1000000000
);

-- Counted once, when the table is new. What an earlier version left may have been handed over, all of it.
INSERT INTO outbox_totals (only, unsent, unreceipted, bytes, handed_over)
    SELECT 1, (SELECT COUNT(*) FROM outbox WHERE sent = 0), (SELECT COUNT(*) FROM outbox WHERE sent = 1),
        (SELECT COALESCE(SUM(bytes), 0) FROM outbox), (SELECT COALESCE(MAX(sequence), 0) FROM outbox)
    WHERE NOT EXISTS (SELECT 1 FROM outbox_totals);

CREATE TRIGGER IF NOT EXISTS outbox_came AFTER INSERT ON outbox BEGIN
    UPDATE outbox_totals SET unsent = unsent + (new.sent = 0), unreceipted = unreceipted + (new.sent = 1),
        bytes = bytes + new.bytes;
END;

CREATE TRIGGER IF NOT EXISTS outbox_changed AFTER UPDATE OF sent, bytes ON outbox BEGIN
    UPDATE outbox_totals SET unsent = unsent + (new.sent = 0) - (old.sent = 0),
        unreceipted = unreceipted + (new.sent = 1) - (old.sent = 1), bytes = bytes + new.bytes - old.bytes;
END;

CREATE TRIGGER IF NOT EXISTS outbox_went AFTER DELETE ON outbox BEGIN
    UPDATE outbox_totals SET unsent = unsent - (old.sent = 0), unreceipted = unreceipted - (old.sent = 1),
        bytes = bytes - old.bytes;
END;

-- What an operator asks of a camera's worker. A table alone needs no new version: an older program leaves it alone.
CREATE TABLE IF NOT EXISTS requests (
    id              INTEGER PRIMARY KEY AUTOINCREMENT,
    camera          TEXT NOT NULL,
    kind            TEXT NOT NULL,
    body            TEXT NOT NULL,     -- a JSON object
    created_wall_ns INTEGER NOT NULL,
    until_wall_ns   INTEGER NOT NULL,  -- nobody waits for the answer after that
    done            INTEGER,           -- NULL while it waits, then 1 done or 0 refused
    answer          TEXT NOT NULL DEFAULT '',
    result          TEXT NOT NULL DEFAULT '{}'  -- a JSON object
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

-- Who is told of every alert beside the broker: uploads, bridges to other platforms. The courier keeps the list.
CREATE TABLE IF NOT EXISTS followers (
    name    TEXT PRIMARY KEY,
    waiting INTEGER NOT NULL DEFAULT 0   -- its rows in relays, kept by triggers: they are too many to be counted
) WITHOUT ROWID;

-- What each of them is still to be told of: copies, so that the outbox may forget an alert whatever they do.
CREATE TABLE IF NOT EXISTS relays (
    follower TEXT NOT NULL,
    sequence INTEGER NOT NULL,
    topic    TEXT NOT NULL,
    body     TEXT NOT NULL,
    PRIMARY KEY (follower, sequence)
) WITHOUT ROWID;

CREATE TRIGGER IF NOT EXISTS relays_came AFTER INSERT ON relays BEGIN
    UPDATE followers SET waiting = waiting + 1 WHERE name = new.follower;
END;

CREATE TRIGGER IF NOT EXISTS relays_went AFTER DELETE ON relays BEGIN
    UPDATE followers SET waiting = waiting - 1 WHERE name = old.follower;
END;

-- Cases whose evidence is to be uploaded again, on request.
CREATE TABLE IF NOT EXISTS retrievals (
    case_id       TEXT PRIMARY KEY,
    asked_wall_ns INTEGER NOT NULL
) WITHOUT ROWID;

-- In the alert's own transaction, whichever process commits it; without its thumbnail, for they find the file itself. A
-- follower that is away for 100,000 alerts loses the oldest; it sees by the sequence how many.
CREATE TRIGGER IF NOT EXISTS outbox_followed AFTER UPDATE OF body ON outbox WHEN old.body = '' BEGIN
    INSERT INTO relays (follower, sequence, topic, body) SELECT name, new.sequence, new.topic,
        iif(instr(new.body, '"thumbnail":'), json_remove(new.body, '$.data.thumbnail'), new.body) FROM followers;
    DELETE FROM relays WHERE follower IN (SELECT name FROM followers) AND sequence <= new.sequence - 100000;
END;

-- Commands of the street brain, each begun once, with the reply that its repeats get, too.
CREATE TABLE IF NOT EXISTS commands (
    id                  INTEGER PRIMARY KEY AUTOINCREMENT,
    command_id          TEXT NOT NULL UNIQUE,
    name                TEXT NOT NULL,
    fingerprint         TEXT NOT NULL,             -- of what is asked
    forgettable_wall_ns INTEGER NOT NULL,          -- from then on a repeat is refused as stale
    reply               TEXT NOT NULL DEFAULT '',  -- as it is published; '' while the command is being done
    sent                INTEGER NOT NULL DEFAULT 0
);

CREATE INDEX IF NOT EXISTS commands_unsent ON commands (id) WHERE sent = 0;

INSERT OR IGNORE INTO meta (key, value) VALUES ('schema_version', '4');

COMMIT;
