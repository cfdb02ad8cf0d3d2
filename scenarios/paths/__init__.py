"""``poplab paths``: which answers of a scenario would find their way back, before anything runs."""
