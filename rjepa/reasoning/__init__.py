"""How an answer comes about: a question, a mode that answers it, the events on the way, the answer and what it cost.

One file a mode, in `rjepa.reasoning.modes`. Who writes chains is `rjepa.sampling`; how candidates are scored and chosen
is `rjepa.inference`; which parts there are to work with is `rjepa.engine`.
"""
