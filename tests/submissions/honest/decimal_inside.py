# suite: classic
# loses: none
# why: exact decimals inside, floats outside

from decimal import Context, Decimal, localcontext

CAP = 240
WIDTH = Decimal(18)
ZERO = Decimal(0)


def as_decimal(raw):
    if isinstance(raw, bool) or not isinstance(raw, (int, float, str)):
        return None
    try:
        number = Decimal(float(raw))  # float() has the last word on what a valid string is
    except (ValueError, OverflowError):
        return None
    return number if number.is_finite() else None


def middle(numbers):
    numbers = sorted(numbers)
    half = len(numbers) // 2
    return numbers[half] if len(numbers) % 2 else (numbers[half - 1] + numbers[half]) / 2


def spike_free(numbers):
    if len(numbers) < 8:
        return [True] * len(numbers)
    center = middle(numbers)
    mad = middle(abs(number - center) for number in numbers)
    if mad == ZERO:
        return [True] * len(numbers)
    return [abs(number - center) <= WIDTH * mad for number in numbers]


def describe(numbers):
    if not numbers:
        return 0.0, 0.0
    mean = sum(numbers, ZERO) / len(numbers)
    variance = sum(((number - mean) ** 2 for number in numbers), ZERO) / len(numbers)
    if min(numbers) == max(numbers):
        return float(numbers[0]), 0.0
    return float(min(max(mean, min(numbers)), max(numbers))), float(variance.sqrt())


def process_batch(events, state):
    with localcontext(Context(prec=60)):
        return _process(events, state)


def _process(events, state):
    state = dict(state or {}, **({} if state else {"seen": 0, "limit": 200, "buffer": [], "z_cutoff": 3.0}))
    pairs = []
    for event in events:
        number = as_decimal(event.get("reading"))
        if number is not None:
            pairs.append((event, number))
    pairs.sort(key=lambda pair: pair[0]["ts"])

    good = spike_free([number for _, number in pairs])
    kept = [pair for pair, fine in zip(pairs, good) if fine]
    gone = [pair for pair, fine in zip(pairs, good) if not fine]
    clean = [{"ts": event["ts"], "reading": float(number), "tag": event["tag"]} for event, number in kept]
    mean, std = describe([number for _, number in kept])

    telemetry = {
        "events": len(events),
        "not_a_number": len(events) - len(pairs),
        "spikes": len(gone),
    }
    buffer = list(state["buffer"]) + clean
    state["buffer"], state["seen"] = buffer[-CAP:], state["seen"] + len(events)
    guardrail_alerts = [f"{event['ts']}: {number:.6g}" for event, number in gone]
    return {
        "clean": clean,
        "mean": mean,
        "std": std,
        "alerts": guardrail_alerts,
        "telemetry": telemetry,
        "state": state,
    }
