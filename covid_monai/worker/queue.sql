-- Tables of the queue (queue.py). Another format needs another number in user_version.
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS job (
    number INTEGER PRIMARY KEY,
    archive TEXT NOT NULL,
    study TEXT NOT NULL,
    series TEXT NOT NULL,
    instance TEXT NOT NULL,
    state TEXT NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'done', 'refused', 'dead', 'dropped')),
    noticed REAL NOT NULL,
    not_before REAL NOT NULL DEFAULT 0,
    starts INTEGER NOT NULL DEFAULT 0,
    first_start REAL,
    attempts INTEGER NOT NULL DEFAULT 0,
    deferrals INTEGER NOT NULL DEFAULT 0,
    finished REAL,
    reason TEXT,
    probabilities TEXT,
    results_made TEXT,
    UNIQUE (archive, instance)
);
CREATE INDEX IF NOT EXISTS waiting ON job (archive, deferrals, number) WHERE state = 'waiting';
CREATE INDEX IF NOT EXISTS dead ON job (archive, number) WHERE state = 'dead';
CREATE INDEX IF NOT EXISTS finished ON job (finished);
CREATE TABLE IF NOT EXISTS position (archive TEXT PRIMARY KEY, position TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS result (archive TEXT NOT NULL, instance TEXT NOT NULL, job INTEGER NOT NULL,
    PRIMARY KEY (archive, instance)) WITHOUT ROWID;
-- When a person last asked for another try at once. Earlier versions do not read this table.
CREATE TABLE IF NOT EXISTS wake (archive TEXT PRIMARY KEY, asked REAL NOT NULL);
PRAGMA user_version=2;
COMMIT;
