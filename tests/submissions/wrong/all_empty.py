# suite: classic
# loses: all
# why: no source at all
# feedback: ✗ process_batch missing

