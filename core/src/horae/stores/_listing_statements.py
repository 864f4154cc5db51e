"""The statements behind the SQLite store's listings, each with the index that it rides."""

from typing import Final

from horae.stores import _rows

# The candidates' ids are cut before a row is read in full: results and errors are long.
EVENTS: Final = f"""
SELECT {_rows.EVENT_COLUMNS}
FROM (SELECT id FROM ({{candidates}}) ORDER BY id {{order}} LIMIT ?) AS found
     CROSS JOIN horae_event e ON e.id = found.id CROSS JOIN horae_lane l ON l.id = e.lane
ORDER BY found.id {{order}}
"""

RUNS: Final = f"""
SELECT {_rows.RUN_COLUMNS}
FROM (SELECT id FROM ({{candidates}}) ORDER BY id {{order}} LIMIT ?) AS found
     CROSS JOIN horae_run r ON r.id = found.id CROSS JOIN horae_lane l ON l.id = r.lane
ORDER BY found.id {{order}}
"""

# Rides horae_event_running, then horae_run_claim: as many as the hosts have in hand.
UNDER_WAY: Final = """
SELECT id FROM horae_run
WHERE id IN (SELECT run.id
             FROM horae_event AS event INDEXED BY horae_event_running
                  CROSS JOIN horae_run AS run INDEXED BY horae_run_claim
                  ON run.event = event.id AND run.claim = event.claim
             WHERE event.state = 'running')
      AND id >= ? AND id < ? AND outcome IS NULL AND {condition}
"""

# Each rides the index that holds the events of the state: all of them are looked at.
READY: Final = """
SELECT id FROM horae_event INDEXED BY horae_event_ready
WHERE state = 'pending' AND paused = 0 AND blocked IS NULL
      AND id >= ? AND id < ? AND {condition}
"""
PAUSED: Final = """
SELECT id FROM horae_event INDEXED BY horae_event_paused
WHERE state = 'pending' AND paused > 0 AND id >= ? AND id < ? AND {condition}
"""
BLOCKED: Final = """
SELECT id FROM horae_event INDEXED BY horae_event_blocked
WHERE state = 'pending' AND blocked IS NOT NULL AND paused = 0
      AND id >= ? AND id < ? AND {condition}
"""
RUNNING: Final = """
SELECT id FROM horae_event INDEXED BY horae_event_running
WHERE state = 'running' AND id >= ? AND id < ? AND {condition}
"""
QUARANTINED: Final = """
SELECT id FROM horae_event INDEXED BY horae_event_state
WHERE state = 'quarantined' AND (state < 'finished' OR state = 'quarantined')
      AND id >= ? AND id < ? AND {condition}
"""

BY_STATE: Final = {
    "pending": (READY, BLOCKED, PAUSED),
    "running": (RUNNING,),
    "quarantined": (QUARANTINED,),
}
"""Where the events that are not over are found."""

LAST_RUN: Final = f"""
SELECT {_rows.RUN_COLUMNS} FROM horae_run r JOIN horae_lane l ON l.id = r.lane
WHERE r.event = ? ORDER BY r.claim DESC LIMIT 1
"""

OVERVIEW: Final = """
SELECT l.event_type, e.state, count(*) FROM horae_event e JOIN horae_lane l ON l.id = e.lane
GROUP BY l.event_type, e.state
"""

OUTCOMES: Final = """
SELECT l.event_type, counted.outcome, sum(counted.runs)
FROM (SELECT lane, outcome, count(*) AS runs FROM horae_run INDEXED BY horae_run_lane
      WHERE outcome IS NOT NULL GROUP BY lane, outcome) AS counted
     JOIN horae_lane l ON l.id = counted.lane
GROUP BY l.event_type, counted.outcome
"""

CAUSES: Final = """
SELECT cause, count(*) FROM horae_run WHERE cause IS NOT NULL AND {condition} GROUP BY cause
"""

# -- spans

LAST_SPAN: Final = "SELECT max(block) FROM horae_span WHERE source = ?"

SPANS_BETWEEN: Final = """
SELECT block FROM horae_span
WHERE source = :source AND (newest IS NULL OR (newest >= :since AND oldest < :until))
ORDER BY block
"""

ADD_SPANS: Final = {
    "event": """
        INSERT INTO horae_span (source, block, oldest, newest)
        SELECT :source, id / {size}, min({instant}), max({instant}) FROM {table}
        WHERE id >= :first AND id < :end GROUP BY id / {size}
    """,
    # A run under way gets another instant when it begins, so its block has no bounds yet.
    "run": """
        INSERT INTO horae_span (source, block, oldest, newest)
        SELECT :source, id / {size}, iif(count(outcome) = count(*), min({instant}), NULL),
               iif(count(outcome) = count(*), max({instant}), NULL)
        FROM {table} WHERE id >= :first AND id < :end GROUP BY id / {size}
    """,
}

# At random, so that a few blocks whose runs take for ever keep no other from it.
CLOSE_SPANS: Final = """
UPDATE horae_span
SET (oldest, newest) = (SELECT min({instant}), max({instant}) FROM {table}
                        WHERE id >= block * {size} AND id < (block + 1) * {size})
WHERE source = 'run' AND block IN (
    SELECT block FROM horae_span AS open WHERE source = 'run' AND newest IS NULL
    ORDER BY random() LIMIT :limit)
AND NOT EXISTS (SELECT 1 FROM {table} WHERE id >= block * {size} AND id < (block + 1) * {size}
                AND outcome IS NULL)
"""
