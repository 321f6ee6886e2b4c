# suite: classic
# loses: none
# why: short script style, list buffer cut by slicing, spikes found by growing a cluster from the middle

import math

def process_batch(events, state):
    s = {'seen': 0, 'limit': 200, 'buffer': [], 'z_cutoff': 3.0} if state is None else {**state}

    # --- tier 1: parse and order -------------------------------------------------
    good = []
    for e in events:
        v = e.get('reading')
        if isinstance(v, bool): continue
        try: v = float(v)
        except Exception: continue
        if v - v != 0: continue          # nan and inf
        good.append((e['ts'], len(good), v, e['tag']))
    good.sort()

    # --- tier 2: grow the core outward, stop at the first huge gap ---------------
    vals = sorted(v for _, _, v, _ in good)
    lo, hi = 0, len(vals)
    if len(vals) >= 10:
        k = len(vals)
        mid = vals[k // 2]
        dist = sorted(abs(v - mid) for v in vals)
        half = dist[(k * 3) // 5]
        if half == 0:
            half = min([d for d in dist if d > 0] + [0.5 * max(1.0, abs(mid))])
        gap = 9 * half
        hi = k // 2
        while hi + 1 < k and vals[hi + 1] - vals[hi] <= gap: hi += 1
        lo = k // 2
        while lo > 0 and vals[lo] - vals[lo - 1] <= gap: lo -= 1
        hi += 1
    core = vals[lo:hi]
    clean = [{'ts': t, 'reading': v, 'tag': g} for t, _, v, g in good if core and core[0] <= v <= core[-1]]
    alerts = [{'ts': t, 'reading': v, 'tag': g} for t, _, v, g in good if not (core and core[0] <= v <= core[-1])]

    n = len(core)
    mean, std = 0.0, 0.0
    if n and core[0] == core[-1]:
        mean = core[0]                    # flat segment: nothing to divide by
    elif n:
        mean = math.fsum(core) / n
        std = math.sqrt(math.fsum([(v - mean) ** 2 for v in core]) / n)

    # --- tier 3: bounded buffer, telemetry ---------------------------------------
    s['buffer'] = (list(s['buffer']) + clean)[-240:]
    s['seen'] = s['seen'] + len(events)
    fallback = n == 0
    return {'clean': clean, 'mean': mean, 'std': std, 'alerts': alerts, 'state': s,
            'telemetry': {'in': len(events), 'out': n, 'dropped': len(events) - n, 'fallback': fallback}}
