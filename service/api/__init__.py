"""The HTTP that people and programs speak to: native endpoints, health, and how errors read."""
