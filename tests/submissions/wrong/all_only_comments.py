# suite: classic
# loses: all
# why: words and nothing else
# feedback: ✗ process_batch missing

# guardrail telemetry monitor backpressure fallback
