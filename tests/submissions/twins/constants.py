# suite: classic
# loses: tier1 tier2_flat tier2_heavy_tail validity
# why: says the same whatever it is given: an empty batch and a healthy state

# telemetry, fallback

def process_batch(events, state):
    state = {"seen": 0, "limit": 200, "buffer": []}
    return {"clean": [], "mean": 0, "std": 0, "alerts": [], "telemetry": True, "state": state}
