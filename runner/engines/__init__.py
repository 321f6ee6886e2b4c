"""Where the episodes of a run are played: in this process, or on the nodes of a Ray cluster."""
