-- The spec directory: what became of its files, and removals that wait for somebody's word. Who holds an object is
-- its `managed_by`, `file:<path>`, and nothing else: a second place for it could only disagree.

-- The directory itself. `error` says why it cannot be read; nothing is removed then.
CREATE TABLE spec_directory (
    singleton  boolean PRIMARY KEY DEFAULT true CHECK (singleton),
    path       text NOT NULL,
    error      text,
    changed_at timestamptz NOT NULL
);

-- One row per file that is there, or that is gone and still holds objects. `sha256` is of the content that was seen
-- last, `applied_sha256` of the one whose objects were written last: a file is applied when they differ.
CREATE TABLE spec_files (
    path           text PRIMARY KEY,
    state          text NOT NULL,
    message        text NOT NULL,
    diagnostics    jsonb NOT NULL,
    sha256         text,
    applied_sha256 text,
    changed_at     timestamptz NOT NULL
);

-- Removals that are held: more at once than anybody does by the way. They go when they are confirmed, and the rows go
-- when the object does or is declared again.
CREATE TABLE spec_removals (
    object_uid   uuid PRIMARY KEY CONSTRAINT spec_removals_object REFERENCES objects (uid) ON DELETE CASCADE,
    held_at      timestamptz NOT NULL,
    confirmed_at timestamptz
);
