"""The protocols of agent frameworks: each a thin face over `service.episodes.Episodes`, without the framework."""
