"""Seven simulated nights: who asks and votes, what goes wrong when, and what is measured afterwards.

    script      the nights, their sizes, the users and how honest they are. Pure
    measuring   one R-JEPA on problems that no gate ever saw: accuracy and AUROC by domain
    unfiltered  the rival that learns from every approval and serves what comes of it
    telling     the figures with intervals, as a table and as a plot

The service and Dagster are driven by `rjepa_assets.simulating`; docs/living.md says what was found.
"""
