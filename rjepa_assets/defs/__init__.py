"""One module per stage with the checks of its assets; partitions, resources and automation beside."""
