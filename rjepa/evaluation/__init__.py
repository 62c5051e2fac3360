"""Every way of choosing an answer, judged on the same frozen candidates, with intervals and tests."""
