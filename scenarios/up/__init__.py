"""``poplab up``: a world that stays, and what its devices from outside need to join it."""
