# suite: classic
# loses: tier1 tier2_flat tier2_heavy_tail tier3 validity
# why: every call raises

# telemetry, fallback

def process_batch(events, state):
    raise ValueError("not done yet")
