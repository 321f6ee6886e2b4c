"""A stand-in for the Messages API and the scripted policies that play the agent, so that a run costs nothing."""
