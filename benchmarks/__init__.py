"""How fast the sandbox is, measured beside what it is compared with: ``make bench`` and ``make soak``."""
