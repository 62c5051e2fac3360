"""What the monitor shows, gathered from where it is kept: releases, data, teachers, storage, runs, and what is amiss.

Values in no language: words and pages are the service's matter (`serving.monitor`). Everything is read anew each time,
from manifests, records and the database; nothing here loads a model or writes.
"""
