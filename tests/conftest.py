"""The toy project is not a part of ours: test_foreign_project.py runs its tests."""

collect_ignore = ["foreign_project"]
