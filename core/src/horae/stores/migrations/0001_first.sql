-- The first schema. All names begin with horae_, since the tables may live in an application's
-- own database. Instants are microseconds since the epoch, in UTC.

-- One lane for each (type, schema version, schedule kind) that was ever scheduled: what the claim
-- predicate names, so that a host claims only what it can run completely.
CREATE TABLE horae_lane (
    id             INTEGER PRIMARY KEY,
    event_type     TEXT NOT NULL,
    schema_version INTEGER NOT NULL,
    kind           TEXT NOT NULL,
    UNIQUE (event_type, schema_version, kind)
);

-- An id is never given twice, so a late answer can never reach a stranger: SQLite gives one more
-- than the largest there is, and retention leaves the newest event. AUTOINCREMENT would do the same
-- for another page written with every single event, a fifth of what it costs to store one.
CREATE TABLE horae_event (
    id               INTEGER PRIMARY KEY,
    lane             INTEGER NOT NULL,
    state            TEXT NOT NULL DEFAULT 'pending',
    paused           INTEGER NOT NULL DEFAULT 0, -- bits: 1 itself, 2 its origin, 4 its resource
    blocked          TEXT,                       -- the gate that was full when it was to be claimed
    priority         INTEGER NOT NULL,
    due              INTEGER,                    -- when to run next; NULL once it is over
    occurrence       INTEGER,                    -- the nominal time behind due
    settled          INTEGER,                    -- the last occurrence that was concluded
    recurs           INTEGER NOT NULL,           -- whether anything follows the first occurrence
    covered          INTEGER,                    -- what came due up to here, this occurrence is for
    next_due         INTEGER,                    -- changed while it ran: when it is due after that
    next_occurrence  INTEGER,                    -- and the nominal time behind it
    claim            INTEGER NOT NULL DEFAULT 0, -- grows with every claim, for the event's life
    attempt          INTEGER NOT NULL DEFAULT 0, -- tries of this occurrence that used up budget
    interruptions    INTEGER NOT NULL DEFAULT 0, -- hosts lost in a row while it ran
    host             TEXT,                       -- the id of the host that runs it
    cancel_requested INTEGER NOT NULL DEFAULT 0,
    arguments        TEXT NOT NULL,
    schedule         TEXT NOT NULL,
    key              TEXT,
    resource         TEXT,
    origin           TEXT,
    description      TEXT,
    user             TEXT,
    resources        TEXT,                       -- of a multi-resource event, a JSON list
    resource_outcomes TEXT,                      -- what became of them in this occurrence so far
    missed           TEXT,                       -- NULL where the type's policy holds
    absent,                                      -- 'hold', 'skip' or microseconds; NULL like missed
    created          INTEGER NOT NULL,
    ended            INTEGER,                    -- when it was over
    last_outcome     TEXT,
    reason           TEXT
);

-- The claim rides this one: a range scan for each (lane, priority), in order of due.
CREATE INDEX horae_event_ready ON horae_event (lane, priority, due)
    WHERE state = 'pending' AND paused = 0 AND blocked IS NULL;

-- Who waits at which gate, in the order in which each lane's are let go.
CREATE INDEX horae_event_blocked ON horae_event (blocked, lane, priority, due)
    WHERE blocked IS NOT NULL AND paused = 0;

-- The few that an operator holds back.
CREATE INDEX horae_event_paused ON horae_event (lane, due) WHERE state = 'pending' AND paused > 0;

-- What an origin still wants, however much of it is over; events without one cost nothing here.
CREATE INDEX horae_event_wanted ON horae_event (origin)
    WHERE origin IS NOT NULL AND state IN ('pending', 'running', 'quarantined');

-- What a lost host had in hand, and what is under way at all.
CREATE INDEX horae_event_running ON horae_event (host) WHERE state = 'running';

-- One event for each key of an origin, among those that are not over.
CREATE UNIQUE INDEX horae_event_key ON horae_event (key, ifnull(origin, ''))
    WHERE key IS NOT NULL AND state IN ('pending', 'running', 'quarantined');

-- Who is inside which gate: a row for each run and gate of a type that has gates. A row with claim
-- 0 has been let go from the gate and is about to try again; until it has, it stands for all that
-- wait behind it, and whatever else becomes of it lets the next one go.
CREATE TABLE horae_hold (
    gate  TEXT NOT NULL,
    event INTEGER NOT NULL,
    claim INTEGER NOT NULL,
    host  TEXT,
    PRIMARY KEY (gate, event, claim)
) WITHOUT ROWID;

CREATE INDEX horae_hold_event ON horae_hold (event);

-- Listings ride these, in order of id within one value. What most events have (no origin, no key,
-- no trouble) is in none of them, so that the common event pays for one entry only, when it is
-- stored, and for none when it is claimed or settled.
CREATE INDEX horae_event_lane ON horae_event (lane);
CREATE INDEX horae_event_keyed ON horae_event (key) WHERE key IS NOT NULL;
CREATE INDEX horae_event_resource ON horae_event (resource) WHERE resource IS NOT NULL;
CREATE INDEX horae_event_origin ON horae_event (origin) WHERE origin IS NOT NULL;
CREATE INDEX horae_event_user ON horae_event (user) WHERE user IS NOT NULL;
CREATE INDEX horae_event_priority ON horae_event (priority) WHERE priority <> 1;
CREATE INDEX horae_event_trouble ON horae_event (last_outcome) WHERE last_outcome <> 'succeeded';
CREATE INDEX horae_event_state ON horae_event (state)
    WHERE state < 'finished' OR state = 'quarantined'; -- cancelled, expired, failed, quarantined

-- What is held back by a rule: all events, stored and to come, whose field has this value. A rule on
-- a type is looked at by the claim; one on an origin or a resource is kept in its events' bits.
CREATE TABLE horae_pause (
    field TEXT NOT NULL,                         -- event_type, origin or resource
    value TEXT NOT NULL,
    since INTEGER NOT NULL,
    PRIMARY KEY (field, value)
) WITHOUT ROWID;

-- One row for each claim, written with it, so that an attempt leaves a record even when its host
-- is killed in the next instant. The newest one stays too.
CREATE TABLE horae_run (
    id           INTEGER PRIMARY KEY,
    event        INTEGER NOT NULL,
    claim        INTEGER NOT NULL,
    lane         INTEGER NOT NULL,
    occurrence   INTEGER NOT NULL,
    attempt      INTEGER NOT NULL,
    started      INTEGER NOT NULL,               -- the claim, until the outcome is known
    finished     INTEGER,
    outcome      TEXT,
    will_retry   INTEGER NOT NULL DEFAULT 0,
    result       TEXT,
    result_error TEXT,
    error        TEXT,
    cause        TEXT,
    covers       INTEGER NOT NULL DEFAULT 1,     -- how many occurrences it stands for
    resources    TEXT,                           -- what became of each, a JSON object
    progress     REAL,
    progress_text TEXT,
    resource     TEXT,                           -- as the event has them, for the listings
    origin       TEXT,
    user         TEXT,
    host         TEXT NOT NULL,
    plugin       TEXT NOT NULL,
    version      TEXT,
    generation   INTEGER NOT NULL
);

CREATE UNIQUE INDEX horae_run_claim ON horae_run (event, claim);

-- Listings ride these, in order of id within one value and outcome. A run enters them when its
-- outcome is known: those under way are few, and found through horae_event_running.
CREATE INDEX horae_run_lane ON horae_run (lane, outcome) WHERE outcome IS NOT NULL;
CREATE INDEX horae_run_resource ON horae_run (resource, outcome)
    WHERE resource IS NOT NULL AND outcome IS NOT NULL;
CREATE INDEX horae_run_origin ON horae_run (origin, outcome)
    WHERE origin IS NOT NULL AND outcome IS NOT NULL;
CREATE INDEX horae_run_user ON horae_run (user, outcome)
    WHERE user IS NOT NULL AND outcome IS NOT NULL;
CREATE INDEX horae_run_cause ON horae_run (cause) WHERE cause IS NOT NULL;

-- Between which instants the events (by created) or runs (by started) of a block of ids lie: what
-- takes a listing of some days to its ids, at a thousandth of an index's price. Only whole blocks
-- are here, and those with runs under way have no bounds yet.
CREATE TABLE horae_span (
    source TEXT NOT NULL,                        -- 'event' or 'run'
    block  INTEGER NOT NULL,
    oldest INTEGER,
    newest INTEGER,
    PRIMARY KEY (source, block)
) WITHOUT ROWID;

-- Provenance: who provides a type, or last did. Outlives the plugin.
CREATE TABLE horae_event_type (
    event_type     TEXT PRIMARY KEY,
    schema_version INTEGER NOT NULL,
    plugin         TEXT NOT NULL,
    distribution   TEXT,
    version        TEXT,
    published      INTEGER NOT NULL,
    withdrawn      INTEGER,
    schema         TEXT,                         -- JSON Schema of the arguments
    absent_from    INTEGER,                      -- the last absence that is over
    absent_until   INTEGER
);

-- The lease of everything a host runs is this one row.
CREATE TABLE horae_host (
    id          TEXT PRIMARY KEY,
    name        TEXT NOT NULL,
    identity    TEXT NOT NULL,
    pid         INTEGER NOT NULL,
    beat        INTEGER NOT NULL,
    beaten      INTEGER NOT NULL,
    event_types TEXT NOT NULL,
    kinds       TEXT NOT NULL
);

-- Desired state of plugins by host name, and each host's answer.
CREATE TABLE horae_plugin (
    host         TEXT NOT NULL,
    plugin       TEXT NOT NULL,
    desired      TEXT NOT NULL,
    action       TEXT NOT NULL,
    drain        REAL,
    include_dependents INTEGER NOT NULL DEFAULT 0,
    requested    INTEGER NOT NULL DEFAULT 0,
    done         INTEGER NOT NULL DEFAULT 0,
    state        TEXT NOT NULL DEFAULT 'discovered',
    reason       TEXT,
    distribution TEXT,
    version      TEXT,
    generation   INTEGER NOT NULL DEFAULT 0,
    event_types  TEXT NOT NULL DEFAULT '[]',
    report       TEXT,
    ok           INTEGER NOT NULL DEFAULT 1,
    settings_schema TEXT,
    suspended    TEXT,
    record       TEXT,
    PRIMARY KEY (host, plugin)
);

-- What hosts were asked to install or uninstall, how far they are, and what came of it.
CREATE TABLE horae_installation (
    id      INTEGER PRIMARY KEY,
    host    TEXT NOT NULL,
    asked   INTEGER NOT NULL,
    done    INTEGER NOT NULL DEFAULT 0,
    content TEXT NOT NULL
);
