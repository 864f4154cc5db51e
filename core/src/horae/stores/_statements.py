"""The statements of the SQLite store: one for each verb, with the index that it rides.

Written by hand and kept apart from the code, so that they can be read, and explained, in a row.
"""

from typing import Final

from horae.stores import _rows
from horae.stores.base import LAST_CHANCE, LAST_CHANCE_SPREAD, MAX_INTERRUPTIONS

# -- events

INSERT_LANE: Final = """
INSERT OR IGNORE INTO horae_lane (event_type, schema_version, kind) VALUES (?, ?, ?)
"""

SELECT_LANES: Final = "SELECT id, event_type, schema_version, kind FROM horae_lane ORDER BY id"

INSERT_EVENT: Final = """
INSERT INTO horae_event (lane, priority, due, occurrence, recurs, arguments, schedule, key,
                         resource, origin, description, user, resources, missed, absent, created)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""

SET_DUE: Final = "UPDATE horae_event SET due = ? WHERE id = ?"

LAST_EVENT: Final = "SELECT seq FROM sqlite_sequence WHERE name = 'horae_event'"

# Rides the unique index horae_event_key: who holds this key?
KEY_HOLDER: Final = """
SELECT id FROM horae_event
WHERE key = ? AND ifnull(origin, '') = ? AND state IN ('pending', 'running', 'quarantined')
"""

CANCEL_WAITING: Final = """
UPDATE horae_event
SET state = 'cancelled', due = NULL, reason = ?, last_outcome = ifnull(last_outcome, 'cancelled')
WHERE id = ? AND state IN ('pending', 'quarantined')
"""

CANCEL_RUNNING: Final = """
UPDATE horae_event SET cancel_requested = 1, reason = ? WHERE id = ? AND state = 'running'
"""

PAUSE: Final = """
UPDATE horae_event SET paused = ? WHERE id = ? AND state IN ('pending', 'running', 'quarantined')
"""

RUN_NOW: Final = """
UPDATE horae_event
SET state = 'pending', due = :now, occurrence = min(occurrence, :now), paused = 0,
    interruptions = 0, reason = NULL
WHERE id = :event AND state IN ('pending', 'quarantined')
"""

# -- claim and settle

# Rides horae_event_ready: the first due time of one lane and priority is a single seek.
HEAD: Final = """
SELECT due FROM horae_event
WHERE state = 'pending' AND paused = 0 AND blocked IS NULL AND lane = ? AND priority = ?
ORDER BY due LIMIT 1
"""

# Rides horae_event_ready, range scan within one lane and priority. Scanning all of a lane in the
# order (priority, due) instead would walk every far-future row of the higher priorities.
PICK: Final = """
SELECT due, id FROM horae_event
WHERE state = 'pending' AND paused = 0 AND blocked IS NULL
      AND lane = ? AND priority = ? AND due <= ?
ORDER BY due LIMIT ?
"""

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
INSERT INTO horae_run (event, claim, lane, occurrence, attempt, started, host, plugin, version,
                       generation)
SELECT horae_event.id, claim, lane, occurrence, attempt + 1, ?, ?, ?, ?, ?
FROM json_each(?) AS claimed CROSS JOIN horae_event ON horae_event.id = claimed.value
"""

# Who still runs under the claim that a settlement names; nobody can change it before the updates.
HELD: Final = """
SELECT id, claim, cancel_requested FROM horae_event
WHERE state = 'running' AND id IN (SELECT value FROM json_each(?))
"""

# The claim in the WHERE is the fence: a late answer finds no row and changes nothing.
SETTLE_EVENT: Final = """
UPDATE horae_event
SET state = CASE WHEN cancel_requested AND ? IN ('pending', 'quarantined') THEN 'cancelled'
                 ELSE ? END,
    due = CASE WHEN cancel_requested THEN NULL ELSE ? END,
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

RESCUE_RUNS: Final = f"""
UPDATE horae_run
SET finished = ?, outcome = 'interrupted', error = ?, cause = ?, will_retry = lost.again
FROM (SELECT id, claim AS held,
             NOT cancel_requested AND interruptions + 1 < {MAX_INTERRUPTIONS} AS again
      FROM horae_event WHERE state = 'running' AND host = ?) AS lost
WHERE event = lost.id AND claim = lost.held AND outcome IS NULL
"""

# Rides horae_event_running.
RESCUE_EVENTS: Final = f"""
UPDATE horae_event
SET state = CASE WHEN cancel_requested THEN 'cancelled'
                 WHEN interruptions + 1 >= {MAX_INTERRUPTIONS} THEN 'quarantined'
                 ELSE 'pending' END,
    due = CASE WHEN cancel_requested THEN NULL
               WHEN interruptions + 2 = {MAX_INTERRUPTIONS} THEN
                   :now + {LAST_CHANCE} + id % {LAST_CHANCE_SPREAD[0]} * {LAST_CHANCE_SPREAD[1]}
               ELSE due END,
    reason = CASE WHEN cancel_requested THEN reason
                  WHEN interruptions + 1 >= {MAX_INTERRUPTIONS} THEN
                      'interrupted {MAX_INTERRUPTIONS} times in a row: ' || :reason
                  ELSE :reason END,
    interruptions = interruptions + 1, last_outcome = 'interrupted',
    host = NULL, cancel_requested = 0
WHERE state = 'running' AND host = :host
"""

LAST_RUN: Final = f"""
SELECT {_rows.RUN_COLUMNS} FROM horae_run r JOIN horae_lane l ON l.id = r.lane
WHERE r.event = ? ORDER BY r.claim DESC LIMIT 1
"""

# Rides horae_run_claim where an event is named, else walks all runs.
CAUSES: Final = """
SELECT r.cause, count(*) FROM horae_run r JOIN horae_lane l ON l.id = r.lane
WHERE r.cause IS NOT NULL AND {where} GROUP BY r.cause
"""

# -- what is pending

# Rides horae_event_ready, so finished events cost nothing; the second half is for paused ones.
BACKLOG: Final = """
SELECT lane, sum(pending), sum(overdue), min(oldest) FROM (
    SELECT lane, count(*) AS pending, sum(due <= :now) AS overdue, min(due) AS oldest
    FROM horae_event WHERE state = 'pending' AND paused = 0 AND blocked IS NULL GROUP BY lane
    UNION ALL
    SELECT lane, count(*), sum(due <= :now), min(due)
    FROM horae_event INDEXED BY horae_event_paused
    WHERE state = 'pending' AND paused > 0 GROUP BY lane
) GROUP BY lane
"""

OVERVIEW: Final = """
SELECT l.event_type, e.state, count(*) FROM horae_event e JOIN horae_lane l ON l.id = e.lane
GROUP BY l.event_type, e.state
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
INSERT INTO horae_plugin (host, plugin, desired, action, drain, requested)
VALUES (?, ?, ?, ?, ?, 1)
ON CONFLICT (host, plugin) DO UPDATE SET desired = excluded.desired, action = excluded.action,
    drain = excluded.drain, requested = requested + 1
RETURNING requested
"""

# A request that came while the last one was carried out stays open: desired is only taken from
# the host's answer where nothing newer was asked.
REPORT_PLUGIN: Final = """
INSERT INTO horae_plugin (host, plugin, desired, action, requested, done, state, reason,
                          distribution, version, generation, event_types, report, ok)
VALUES (:host, :plugin, :desired, :action, :done, :done, :state, :reason,
        :distribution, :version, :generation, :event_types, :report, :ok)
ON CONFLICT (host, plugin) DO UPDATE SET
    desired = CASE WHEN requested > :done THEN desired ELSE :desired END, done = :done,
    state = :state, reason = :reason, distribution = :distribution, version = :version,
    generation = :generation, event_types = :event_types, report = :report, ok = :ok
"""

PLUGIN_ROWS: Final = """
SELECT host, plugin, desired, action, drain, requested, done, state, reason, distribution, version,
       generation, event_types, report, ok
FROM horae_plugin WHERE :host IS NULL OR host = :host ORDER BY plugin, host
"""
