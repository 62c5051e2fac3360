"""What the tables of answers beside this module hold: by kind, pairs of a gold answer and a given one."""

Pairs = dict[str, list[tuple[str, str]]]
