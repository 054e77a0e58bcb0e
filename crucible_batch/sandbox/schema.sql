-- The state of a sandbox: one table a kind of record, in the order of creation (seq), and the bytes by their digest.
-- Credits and params are text: SQLite has no exact decimals.

CREATE TABLE IF NOT EXISTS account (
    seq        INTEGER PRIMARY KEY,
    account_id TEXT NOT NULL UNIQUE,
    key_sha256 TEXT NOT NULL UNIQUE
);

CREATE TABLE IF NOT EXISTS entry (
    seq            INTEGER PRIMARY KEY,
    entry_id       TEXT NOT NULL UNIQUE,
    account_id     TEXT NOT NULL REFERENCES account (account_id),
    entry_type     TEXT NOT NULL,
    amount         TEXT NOT NULL,
    created_at     REAL NOT NULL,
    description    TEXT NOT NULL,
    job_id         TEXT,
    asset_id       TEXT,
    balance_after  TEXT NOT NULL,
    reserved_after TEXT NOT NULL
);

CREATE TABLE IF NOT EXISTS asset (
    seq      INTEGER PRIMARY KEY,
    asset_id TEXT NOT NULL UNIQUE,
    record   TEXT NOT NULL
);

CREATE TABLE IF NOT EXISTS job (
    seq             INTEGER PRIMARY KEY,
    job_id          TEXT NOT NULL UNIQUE,
    account_id      TEXT NOT NULL REFERENCES account (account_id),
    idempotency_key TEXT,
    record          TEXT NOT NULL,
    UNIQUE (account_id, idempotency_key)
);

CREATE TABLE IF NOT EXISTS blob (
    sha256 TEXT PRIMARY KEY,
    bytes  BLOB NOT NULL
);

CREATE TRIGGER IF NOT EXISTS entry_is_append_only BEFORE UPDATE ON entry
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;

CREATE TRIGGER IF NOT EXISTS entry_is_never_deleted BEFORE DELETE ON entry
BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
