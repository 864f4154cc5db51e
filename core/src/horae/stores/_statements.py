"""The statements of the SQLite store: one for each verb, with the index that it rides.

Written by hand and kept apart from the code, so that they can be read, and explained, in a row.
"""

from typing import Final

from horae.stores import _rows
from horae.stores.records import LAST_CHANCE, LAST_CHANCE_SPREAD, MAX_INTERRUPTIONS

_SET_ASIDE: Final = f"state = 'quarantined' AND interruptions >= {MAX_INTERRUPTIONS}"
"""That its hosts were lost too often stays true of an event that was changed."""

# -- events

INSERT_LANE: Final = """
INSERT OR IGNORE INTO horae_lane (event_type, schema_version, kind) VALUES (?, ?, ?)
"""

SELECT_LANES: Final = "SELECT id, event_type, schema_version, kind FROM horae_lane ORDER BY id"

# The rules that hold back an event of this origin and resource, as bits; NULL equals no value.
_PAUSED: Final = """
    2 * EXISTS (SELECT 1 FROM horae_pause WHERE field = 'origin' AND value = ?)
    + 4 * EXISTS (SELECT 1 FROM horae_pause WHERE field = 'resource' AND value = ?)
"""

INSERT_EVENT: Final = f"""
INSERT INTO horae_event (lane, priority, due, occurrence, recurs, arguments, schedule, key,
                         resource, origin, description, user, resources, missed, absent, created,
                         paused)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, {_PAUSED})
"""

# The times are set by SET_OCCURRENCE or SET_FOLLOWING; key, origin and time of creation stay, and
# so does a pause of the event itself.
REPLACE: Final = f"""
UPDATE horae_event
SET lane = ?, priority = ?, recurs = ?, arguments = ?, schedule = ?, resource = ?,
    description = ?, user = ?, resources = ?, missed = ?, absent = ?,
    paused = (paused & 1) + {_PAUSED}
WHERE id = ?
"""

SET_DUE: Final = "UPDATE horae_event SET due = ? WHERE id = ?"

LAST_EVENT: Final = "SELECT max(id) FROM horae_event"

EVENT: Final = f"""
SELECT {_rows.EVENT_COLUMNS} FROM horae_event e JOIN horae_lane l ON l.id = e.lane WHERE e.id = ?
"""

# Rides the unique index horae_event_key: who holds this key?
KEY_HOLDER: Final = """
SELECT id, state FROM horae_event
WHERE key = ? AND ifnull(origin, '') = ? AND state IN ('pending', 'running', 'quarantined')
"""

# Rides horae_event_keyed backwards: who was the last to hold it, and not too long ago?
KEY_LAST_HOLDER: Final = """
SELECT id FROM (SELECT id, created FROM horae_event
                WHERE key = ? AND ifnull(origin, '') = ? ORDER BY id DESC LIMIT 1)
WHERE created >= ?
"""

LANE_ID: Final = """
SELECT id FROM horae_lane WHERE event_type = ? AND schema_version = ? AND kind = ?
"""

# -- control

CANCEL_WAITING: Final = """
UPDATE horae_event
SET state = 'cancelled', due = NULL, blocked = NULL, reason = ?, ended = ?,
    last_outcome = ifnull(last_outcome, 'cancelled')
WHERE id = ? AND state IN ('pending', 'quarantined')
"""

CANCEL_RUNNING: Final = """
UPDATE horae_event SET cancel_requested = 1, reason = ?, next_due = NULL, next_occurrence = NULL
WHERE id = ? AND state = 'running'
"""

# What an origin has pending. The list of states is what the index is made for.
_WANTED: Final = """
FROM horae_event INDEXED BY horae_event_wanted
WHERE origin = ? AND state IN ('pending', 'running', 'quarantined') AND state = 'pending'
"""

MISSING: Final = f"""
SELECT id {_WANTED} AND resource IS NOT NULL AND resources IS NULL
      AND resource NOT IN (SELECT value FROM json_each(?))
"""

WITH_SEVERAL: Final = f"SELECT id, resources {_WANTED} AND resources IS NOT NULL"

NARROW: Final = "UPDATE horae_event SET resources = ? WHERE id = ?"

# A bit in, or out. Whoever comes back from a pause tries the gate anew: the place in front of it
# was not kept.
PAUSE: Final = """
UPDATE horae_event SET paused = (paused & ~:bit) | (:bit * :paused), blocked = NULL
WHERE id = :event AND state IN ('pending', 'running', 'quarantined')
"""

# Rides the index of that name: the events that a rule on an origin or a resource holds back.
LIVE_OF: Final = {
    field: f"""
SELECT id FROM horae_event
WHERE {field} = ? AND state IN ('pending', 'running', 'quarantined')
"""
    for field in ("origin", "resource")
}

LIVE_WHERE: Final = """
SELECT id FROM horae_event
WHERE {where} AND state IN ('pending', 'running', 'quarantined')
"""

ADD_PAUSE: Final = "INSERT OR IGNORE INTO horae_pause (field, value, since) VALUES (?, ?, ?)"

REMOVE_PAUSE: Final = "DELETE FROM horae_pause WHERE field = ? AND value = ?"

PAUSES: Final = "SELECT field, value, since FROM horae_pause ORDER BY field, value"

UNPAUSED_LANES: Final = """
SELECT id FROM horae_lane
WHERE event_type NOT IN (SELECT value FROM horae_pause WHERE field = 'event_type')
"""

# Of an overdue occurrence the nominal time stays.
RUN_NOW: Final = """
UPDATE horae_event
SET state = 'pending', due = :now, occurrence = min(occurrence, :now), paused = paused & ~1,
    blocked = NULL, interruptions = 0, reason = NULL
WHERE id = :event AND state IN ('pending', 'quarantined')
"""

CHANGEABLE: Final = """
SELECT e.state, e.cancel_requested, l.event_type, l.schema_version, l.kind
FROM horae_event e JOIN horae_lane l ON l.id = e.lane
WHERE e.id = ? AND e.state IN ('pending', 'running', 'quarantined')
"""

# Whoever comes to another lane tries the gate anew: nobody of that lane may have been let go.
CHANGE: Final = """
UPDATE horae_event
SET lane = :lane, blocked = CASE WHEN lane = :lane THEN blocked END,
    arguments = ifnull(:arguments, arguments), description = ifnull(:description, description),
    priority = ifnull(:priority, priority), schedule = ifnull(:schedule, schedule),
    recurs = ifnull(:recurs, recurs)
WHERE id = :event
"""

REPAIR: Final = """
UPDATE horae_event SET state = 'pending', reason = NULL, interruptions = 0, attempt = 0
WHERE id = ? AND state = 'quarantined'
"""

# Another occurrence takes the place of the one that was to come, with all its tries.
SET_OCCURRENCE: Final = """
UPDATE horae_event
SET state = 'pending', due = ?, occurrence = ?, attempt = 0, interruptions = 0, covered = NULL,
    resource_outcomes = NULL, blocked = NULL, reason = NULL
WHERE id = ?
"""

SET_FOLLOWING: Final = "UPDATE horae_event SET next_due = ?, next_occurrence = ? WHERE id = ?"

# After a settle or a rescue: what was changed while it ran takes the place of what would follow.
FOLLOW: Final = f"""
UPDATE horae_event
SET state = CASE WHEN {_SET_ASIDE} THEN state ELSE 'pending' END,
    reason = CASE WHEN {_SET_ASIDE} THEN reason END,
    due = next_due, occurrence = next_occurrence, next_due = NULL, next_occurrence = NULL,
    attempt = 0, covered = NULL, resource_outcomes = NULL, ended = NULL
WHERE id = ? AND next_due IS NOT NULL
RETURNING lane, priority, due
"""

# Rides horae_event_running.
RUNNING_CHANGED: Final = """
SELECT id FROM horae_event
WHERE state = 'running' AND host = ? AND next_due IS NOT NULL
"""

# In the order of Claim, then of Planned. What was set while it runs is how it will stand.
PLANNED: Final = """
SELECT e.id, e.claim, e.lane, arguments, schedule, ifnull(next_due, due),
       ifnull(next_occurrence, e.occurrence), CASE WHEN next_due IS NULL THEN e.attempt ELSE 0 END,
       interruptions, settled, CASE WHEN next_due IS NULL THEN covered END, recurs, priority,
       e.resource, e.origin, description, created, e.user, e.resources, resource_outcomes, missed,
       absent, l.event_type, CASE WHEN state = 'running' AND next_due IS NULL THEN r.started END
FROM horae_event e JOIN horae_lane l ON l.id = e.lane
     LEFT JOIN horae_run r ON r.event = e.id AND r.claim = e.claim
WHERE e.id IN (SELECT value FROM json_each(?)) AND state IN ('pending', 'running')
      AND (next_due IS NOT NULL OR NOT cancel_requested)
ORDER BY due, e.id
"""

# Rides horae_event_blocked; sorted, since these are few or else all late.
FIRST_BLOCKED: Final = """
SELECT due, id FROM horae_event
WHERE blocked IS NOT NULL AND paused = 0 AND lane IN (SELECT value FROM json_each(?))
ORDER BY due, id LIMIT ?
"""

# -- claim and settle

# The host's name, and whether any rule holds back a type.
CLAIMANT: Final = """
SELECT name, EXISTS (SELECT 1 FROM horae_pause WHERE field = 'event_type')
FROM horae_host WHERE id = ?
"""

# Rides horae_event_ready: the first due time of one lane and priority is a single seek.
HEAD: Final = """
SELECT due FROM horae_event
WHERE state = 'pending' AND paused = 0 AND blocked IS NULL AND lane = ? AND priority = ?
ORDER BY due LIMIT 1
"""

# Rides horae_event_ready, range scan within one lane and priority. Scanning all of a lane in the
# order (priority, due) instead would walk every far-future row of the higher priorities.
PICK: Final = """
SELECT priority, due, id, lane FROM horae_event
WHERE state = 'pending' AND paused = 0 AND blocked IS NULL
      AND lane = ? AND priority = ? AND due <= ?
ORDER BY due, id LIMIT ?
"""

# The same for a lane that has gates, with what names them: the index does not cover these.
PICK_GATED: Final = PICK.replace("lane FROM", "lane, resource, origin FROM")

# The same but for events whose gates are known to be full: these are read and skipped.
PICK_PAST: Final = PICK_GATED.replace(
    "due <= ?",
    """due <= ?
      AND (resource IS NULL OR resource NOT IN (SELECT value FROM json_each(?)))
      AND (origin IS NULL OR origin NOT IN (SELECT value FROM json_each(?)))""",
)

TAKE: Final = """
UPDATE horae_event SET state = 'running', claim = claim + 1, host = ?
WHERE id IN (SELECT value FROM json_each(?))
RETURNING id, claim, lane, arguments, schedule, due, occurrence, attempt, interruptions, settled,
          covered, recurs, priority, resource, origin, description, created, user, resources,
          resource_outcomes, missed, absent
"""

# One statement for all claims of a provider, in their order (CROSS JOIN keeps it in SQLite): a row
# each from Python costs three times that.
INSERT_RUNS: Final = """
INSERT INTO horae_run (event, claim, lane, occurrence, attempt, resource, origin, user, started,
                       host, plugin, version, generation)
SELECT horae_event.id, claim, lane, occurrence, attempt + 1, resource, origin, user, ?, ?, ?, ?, ?
FROM json_each(?) AS claimed CROSS JOIN horae_event ON horae_event.id = claimed.value
"""

# Who still runs under the claim that a settlement names, and how it stands now: it may have been
# changed since the claim. Nobody can do that before the updates. And who of them is inside a gate:
# horae_hold_event answers.
HELD: Final = """
SELECT id, claim, lane, priority, next_due, cancel_requested,
       EXISTS (SELECT 1 FROM horae_hold WHERE event = horae_event.id)
FROM horae_event
WHERE state = 'running' AND id IN (SELECT value FROM json_each(?))
"""

# The claim in the WHERE is the fence: a late answer finds no row and changes nothing.
SETTLE_EVENT: Final = """
UPDATE horae_event
SET state = CASE WHEN cancel_requested AND ? IN ('pending', 'quarantined') THEN 'cancelled'
                 ELSE ? END,
    due = CASE WHEN cancel_requested THEN NULL ELSE ? END,
    ended = CASE WHEN cancel_requested OR ? IS NULL THEN ? END,
    occurrence = ?, attempt = ?, interruptions = ?, settled = ?, covered = ?,
    resource_outcomes = ?, last_outcome = ?,
    reason = CASE WHEN cancel_requested THEN reason ELSE ? END,
    host = NULL, cancel_requested = 0
WHERE id = ? AND claim = ? AND state = 'running'
"""

SETTLE_RUN: Final = """
UPDATE horae_run
SET started = ?, finished = ?, outcome = ?, will_retry = ?, result = ?, result_error = ?, error = ?,
    cause = ?, covers = ?, resources = ?
WHERE event = ? AND claim = ?
"""

# Rides horae_run_claim. Once an outcome is there, nothing is told any more.
PROGRESS: Final = """
UPDATE horae_run SET progress = ?, progress_text = ?, resources = ifnull(?, resources)
WHERE event = ? AND claim = ? AND outcome IS NULL
"""

RESCUE_RUNS: Final = f"""
UPDATE horae_run
SET finished = ?, outcome = 'interrupted', error = ?, cause = ?, will_retry = lost.again
FROM (SELECT id, claim AS held,
             NOT cancel_requested AND next_due IS NULL
                 AND interruptions + 1 < {MAX_INTERRUPTIONS} AS again
      FROM horae_event WHERE state = 'running' AND host = ?) AS lost
WHERE event = lost.id AND claim = lost.held AND outcome IS NULL
"""

# Rides horae_event_running. What a multi-resource run had shown to be done is not done again.
RESCUE_EVENTS: Final = f"""
UPDATE horae_event
SET resource_outcomes = ifnull(
        (SELECT r.resources FROM horae_run r
         WHERE r.event = horae_event.id AND r.claim = horae_event.claim), resource_outcomes),
    state = CASE WHEN cancel_requested THEN 'cancelled'
                 WHEN interruptions + 1 >= {MAX_INTERRUPTIONS} THEN 'quarantined'
                 ELSE 'pending' END,
    due = CASE WHEN cancel_requested THEN NULL
               WHEN interruptions + 2 = {MAX_INTERRUPTIONS} THEN
                   :now + {LAST_CHANCE} + id % {LAST_CHANCE_SPREAD[0]} * {LAST_CHANCE_SPREAD[1]}
               ELSE due END,
    ended = CASE WHEN cancel_requested THEN :now END,
    reason = CASE WHEN cancel_requested THEN reason
                  WHEN interruptions + 1 >= {MAX_INTERRUPTIONS} THEN
                      'interrupted {MAX_INTERRUPTIONS} times in a row: ' || :reason
                  ELSE :reason END,
    interruptions = interruptions + 1, last_outcome = 'interrupted',
    host = NULL, cancel_requested = 0
WHERE state = 'running' AND host = :host
"""

# -- gates

# Rides the primary key of horae_hold. Who was only let go from a gate is not inside.
INSIDE: Final = "SELECT count(*) FROM horae_hold WHERE gate = ? AND claim > 0"

ENTER: Final = "INSERT OR IGNORE INTO horae_hold (gate, event, claim, host) VALUES (?, ?, ?, ?)"

BLOCK: Final = "UPDATE horae_event SET blocked = ? WHERE id = ?"

# Both ride horae_hold_event.
LEAVE: Final = "DELETE FROM horae_hold WHERE event = ? AND claim IN (?, 0) RETURNING gate"

# Whoever runs came to be claimed, and lets others go when it is settled.
GIVE_WAY: Final = """
DELETE FROM horae_hold
WHERE claim = 0 AND event IN
      (SELECT id FROM horae_event
       WHERE state <> 'running' AND id IN (SELECT value FROM json_each(?)))
RETURNING gate
"""

# A walk over horae_hold, which has no more rows than there are runs, and few besides.
LEAVE_HOST: Final = """
DELETE FROM horae_hold
WHERE host = :host OR (claim = 0 AND event IN
      (SELECT id FROM horae_event WHERE state = 'running' AND host = :host))
RETURNING gate
"""

# Rides horae_event_blocked: from lane to lane by seeks, then the first event of each. One of every
# lane, since nobody knows which of them a host can run.
NEXT_AT_GATES: Final = """
WITH RECURSIVE queue (gate, lane) AS (
    SELECT value, (SELECT min(lane) FROM horae_event WHERE blocked = value AND paused = 0)
    FROM json_each(?)
    UNION ALL
    SELECT gate, (SELECT min(lane) FROM horae_event
                  WHERE blocked = gate AND paused = 0 AND lane > queue.lane)
    FROM queue WHERE lane IS NOT NULL
)
SELECT gate, e.id, e.lane, e.priority, e.due FROM queue CROSS JOIN horae_event e ON e.id =
    (SELECT id FROM horae_event WHERE blocked = gate AND paused = 0 AND lane = queue.lane
     ORDER BY priority, due LIMIT 1)
"""

# -- what is pending

# Rides horae_event_ready, so finished events cost nothing; the others have indexes of their own.
BACKLOG: Final = """
SELECT lane, sum(pending), sum(overdue), min(oldest), sum(blocked) FROM (
    SELECT lane, count(*) AS pending, sum(due <= :now) AS overdue, min(due) AS oldest, 0 AS blocked
    FROM horae_event WHERE state = 'pending' AND paused = 0 AND blocked IS NULL GROUP BY lane
    UNION ALL
    SELECT lane, count(*), sum(due <= :now), min(due), 0
    FROM horae_event INDEXED BY horae_event_paused
    WHERE state = 'pending' AND paused > 0 GROUP BY lane
    UNION ALL
    SELECT lane, count(*), sum(due <= :now), min(due), count(*)
    FROM horae_event INDEXED BY horae_event_blocked
    WHERE blocked IS NOT NULL AND paused = 0 GROUP BY lane
) GROUP BY lane
"""

# -- catalogue and plugins

# A type that nobody had is absent no longer: the catalogue keeps from when to when it was.
PUBLISH: Final = """
INSERT INTO horae_event_type (event_type, schema_version, plugin, distribution, version, published,
                              schema)
VALUES (?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (event_type) DO UPDATE SET
    schema_version = excluded.schema_version, plugin = excluded.plugin,
    distribution = excluded.distribution, version = excluded.version, schema = excluded.schema,
    absent_from = CASE WHEN withdrawn IS NULL THEN absent_from ELSE withdrawn END,
    absent_until = CASE WHEN withdrawn IS NULL THEN absent_until ELSE excluded.published END,
    published = excluded.published, withdrawn = NULL
"""

# The absence began when the last of the hosts withdrew it, so a second withdrawal says no more.
WITHDRAW: Final = """
UPDATE horae_event_type SET withdrawn = ? WHERE event_type = ? AND withdrawn IS NULL
"""

REQUEST_PLUGIN: Final = """
INSERT INTO horae_plugin (host, plugin, desired, action, drain, include_dependents, requested)
VALUES (?, ?, ?, ?, ?, ?, 1)
ON CONFLICT (host, plugin) DO UPDATE SET desired = excluded.desired, action = excluded.action,
    drain = excluded.drain, include_dependents = excluded.include_dependents,
    requested = requested + 1
RETURNING requested
"""

# A request that came while the last one was carried out stays open: desired is only taken from
# the host's answer where nothing newer was asked.
REPORT_PLUGIN: Final = """
INSERT INTO horae_plugin (host, plugin, desired, action, requested, done, state, reason,
                          distribution, version, generation, event_types, report, ok,
                          settings_schema, suspended, record)
VALUES (:host, :plugin, :desired, :action, :done, :done, :state, :reason,
        :distribution, :version, :generation, :event_types, :report, :ok,
        :settings_schema, :suspended, :record)
ON CONFLICT (host, plugin) DO UPDATE SET
    desired = CASE WHEN requested > :done THEN desired ELSE :desired END, done = :done,
    state = :state, reason = :reason, distribution = :distribution, version = :version,
    generation = :generation, event_types = :event_types, report = :report, ok = :ok,
    settings_schema = :settings_schema, suspended = :suspended,
    record = :record
"""

PLUGIN_ROWS: Final = """
SELECT host, plugin, desired, action, drain, requested, done, state, reason, distribution, version,
       generation, event_types, report, ok, include_dependents, settings_schema, suspended, record
FROM horae_plugin WHERE :host IS NULL OR host = :host ORDER BY plugin, host
"""

# -- transfer

FILLED: Final = """
SELECT EXISTS (SELECT 1 FROM horae_event) OR EXISTS (SELECT 1 FROM horae_run)
"""

CLAIM_OF: Final = "SELECT claim FROM horae_event WHERE id = ?"
