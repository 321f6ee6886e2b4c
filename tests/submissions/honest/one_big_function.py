# suite: classic
# loses: none
# why: one long function without imports or helpers: index loops, insertion sort, Newton's square root

def process_batch(events, state):
    if state is None:
        state = {"seen": 0, "limit": 200, "buffer": [], "z_cutoff": 3.0}
    telemetry = {"total": 0, "corrupt": 0, "spikes": 0, "backpressure": 0}

    # parse
    ts_list = []
    value_list = []
    tag_list = []
    i = 0
    while i < len(events):
        event = events[i]
        i += 1
        telemetry["total"] += 1
        if "reading" not in event:
            telemetry["corrupt"] += 1
            continue
        raw = event["reading"]
        if raw is True or raw is False or not isinstance(raw, (int, float, str)):
            telemetry["corrupt"] += 1
            continue
        try:
            value = float(raw)
        except ValueError:
            telemetry["corrupt"] += 1
            continue
        except OverflowError:
            telemetry["corrupt"] += 1
            continue
        if value != value or value in (float("inf"), float("-inf")):
            telemetry["corrupt"] += 1
            continue
        # insertion sort by ts, equal ones in the order they came
        j = len(ts_list)
        while j > 0 and ts_list[j - 1] > event["ts"]:
            j -= 1
        ts_list.insert(j, event["ts"])
        value_list.insert(j, value)
        tag_list.insert(j, event["tag"])

    # guardrail against spikes
    n = len(value_list)
    center = 0.0
    guardrail_width = -1.0
    if n >= 8:
        ordered = sorted(value_list)
        center = ordered[n // 2]
        distances = []
        for value in value_list:
            distance = value - center
            if distance < 0:
                distance = -distance
            distances.append(distance)
        distances.sort()
        total = 0.0
        counted = 0
        for k in range(n // 4, 2 * n // 3):
            total += distances[k]
            counted += 1
        unit = total / counted
        if unit > 0:
            guardrail_width = 18 * unit

    clean = []
    alerts = []
    for k in range(n):
        distance = abs(value_list[k] - center)
        if guardrail_width > 0 and distance > guardrail_width:
            telemetry["spikes"] += 1
            alerts.append("spike " + str(value_list[k]) + " at " + str(ts_list[k]))
        else:
            clean.append({"ts": ts_list[k], "reading": value_list[k], "tag": tag_list[k]})

    # statistics, relative to the smallest reading and the range
    mean = 0.0
    std = 0.0
    if len(clean) > 0:
        low = clean[0]["reading"]
        high = low
        for row in clean:
            if row["reading"] < low:
                low = row["reading"]
            if row["reading"] > high:
                high = row["reading"]
        mean = low
        span = high - low
        if span > 0:
            total = 0.0
            for row in clean:
                total += (row["reading"] - low) / span
            share = total / len(clean)
            total = 0.0
            for row in clean:
                part = (row["reading"] - low) / span - share
                total += part * part
            variance = total / len(clean)
            root = 0.5
            for _ in range(60):
                root = (root + variance / root) / 2
            mean = low + share * span
            if mean > high:
                mean = high
            std = root * span

    # buffer
    new_buffer = []
    for row in state["buffer"]:
        new_buffer.append(row)
    for row in clean:
        new_buffer.append(row)
    while len(new_buffer) > 240:
        del new_buffer[0]
        telemetry["backpressure"] += 1

    new_state = {}
    for key in state:
        new_state[key] = state[key]
    new_state["seen"] = state["seen"] + telemetry["total"]
    new_state["buffer"] = new_buffer

    result = {}
    result["clean"] = clean
    result["mean"] = mean
    result["std"] = std
    result["alerts"] = alerts
    result["telemetry"] = telemetry
    result["state"] = new_state
    return result
