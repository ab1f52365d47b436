"""A shop's own log of events to a store: `llmrec data events`.

1. **Columns** (`columns`): which one holds user, item, time, type, session, locale is named or guessed from well-known
   names; the guess is told.
2. **Rows** (`tables`, `times`, `staging`): CSV, TSV, JSON Lines, Parquet, gzipped or not, become one table on disk.
   A row that cannot count is counted by its reason: no item, nobody's, no time, a time before 1990 or after now,
   no locale, a type that weighs nothing. Times of one file are of one form.
3. **Sessions** (`visits`): each user's events of a locale by time, equal times by their place in the log, cut where
   the rest is longer than the gap, or by a session column. Users with too many events are bots and left out.
4. **Cases** (`cases`): what is learnt, validated and tested, cut by time. A session belongs to the side of its last
   event; a test case's target is after the cut. So no event after the cut is learnt from, and no session is on two
   sides.
5. **Store** (`making`): that of `llmrec data import`, whose manifest holds the cut.

Steps 3 and 4 are ibis expressions of what DuckDB and Spark both have. They run over a part of the users at a time, so
that a longer log takes longer and not more memory.
"""
